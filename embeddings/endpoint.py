"""Where an OpenAI-compatible endpoint is, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

URL, KEY = "SOMA_EMBEDDING_URL", "SOMA_EMBEDDING_API_KEY"
MODEL, DIMENSIONS = "SOMA_EMBEDDING_MODEL", "SOMA_EMBEDDING_DIMENSIONS"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the endpoint is and how it is asked."""

    url: str
    """The base address, such as ``https://api.openai.com/v1``."""
    model: str
    """The model's name there."""
    key: str | None = field(default=None, repr=False)
    dimensions: int | None = None
    """Length of every vector; None for what the endpoint gives."""
    timeout: float = 30.0
    """Seconds for the answer to a batch of passages."""
    batch: int = 32
    """The most texts of a request."""

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    @property
    def model_id(self) -> str:
        """The model's name there and the length of its vectors; without the latter where it is not set.

        Where the endpoint is, is not in it: the same model may move. Another model under the same name is not noticed
        unless its vectors have another length (docs/decisions/0014-names-of-models.md).
        """
        return f"{quote(self.model, safe='/@+ ')}:remote-{self.dimensions or ''}"
