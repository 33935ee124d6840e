"""An embedder behind an OpenAI-compatible endpoint, on another machine or another process of this one."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from embeddings.asking import Asking, EndpointFailed, Numbers, Refused
from embeddings.crew import Crew
from embeddings.endpoint import DIMENSIONS, KEY, MODEL, URL, Endpoint
from soma_core.domain.errors import InvalidInput, SomaError, Unavailable
from soma_core.ports.embedder import Vector

log = logging.getLogger(__name__)

START_SECONDS = 8.0
QUERY_SECONDS = 5.0
"""A question is answered by its words rather than late."""
QUERY_RETRIES, PASSAGE_RETRIES = 1, 4
QUESTIONS_AT_ONCE, BATCHES_AT_ONCE = 8, 4
MOST_CHARS, FEWEST_CHARS = 16_000, 500
"""A text is cut to the first. One that is refused is halved down to the second: who refuses does not say its window."""
PROBE = "What is asked of an endpoint to see whether it answers."

EXPECTED = {
    URL: "it must be the base address of an OpenAI-compatible API, such as https://api.openai.com/v1, and "
    f"{MODEL} a model for embeddings there",
    KEY: "it is sent as a bearer token",
    MODEL: "it must be a model for embeddings that the endpoint knows",
    DIMENSIONS: "it must be a length of vectors that the model can give; without it, its own is taken",
}


def open_remote(endpoint: Endpoint) -> RemoteEmbedder:
    """An embedder whose endpoint was asked once. Takes 10 s at most.

    With `dimensions` an endpoint that is away stops nothing: it is asked again later.
    Raises `Unavailable` or `InvalidInput`, which name the setting, the host and what was expected.
    """
    embedder = RemoteEmbedder(endpoint)
    try:
        embedder.load(START_SECONDS)
    except EndpointFailed as error:
        if error.final or endpoint.dimensions is None:
            embedder.close()
            raise _at_start(error) from error
        log.warning("%s: it is asked again; until then answers are by words only", error.message)
    return embedder


def _at_start(error: EndpointFailed) -> SomaError:
    (setting,) = error.fields
    message = f"{setting}: {error.message}; {EXPECTED[setting]}"
    return InvalidInput(message, fields=(setting,)) if error.final else Unavailable(message, fields=(setting,))


class RemoteEmbedder:
    """`Embedder` over an endpoint. Ready while it answers: after a failure it rests, then the next `load` asks again.

    A failure of the endpoint is `Unavailable`. A text that it refuses, while it takes others, is cut; where that does
    not help either, it is `InvalidInput`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Asks nothing yet."""
        self._endpoint = endpoint
        self._dimensions = endpoint.dimensions
        self._asking = Asking(endpoint)
        self._crew = Crew(BATCHES_AT_ONCE)
        self._lock = threading.Lock()
        self._ready = False
        self._shortens: int | None = None
        """What is asked for, where the endpoint gives longer vectors by itself."""
        self._failed: EndpointFailed | None = None
        self._rests_until = 0.0

    @property
    def model_id(self) -> str:
        """The model's name there and the length of its vectors; asks for that where it is not known."""
        return self._endpoint.model_id + ("" if self._endpoint.dimensions else str(self.dimensions))

    @property
    def dimensions(self) -> int:
        """Length of every vector; asked of the endpoint where nobody set it."""
        if self._dimensions is None:
            self.load()
        assert self._dimensions is not None
        return self._dimensions

    @property
    def ready(self) -> bool:
        """Whether the endpoint answered when it was last asked."""
        return self._ready

    @property
    def parallel(self) -> int:
        """How many requests for questions may be under way."""
        return QUESTIONS_AT_ONCE

    def load(self, seconds: float | None = None) -> None:
        """See whether the endpoint answers, in time and with vectors of the right length. Raises `Unavailable`."""
        with self._lock:
            if self._ready:
                return
            rest = self._rests_until - time.monotonic()
            if self._failed and rest > 0:
                raise EndpointFailed(self._failed.message, self._failed.fields[0], after=rest)
            with self._failures():
                self._dimensions = self._measured(seconds or self._endpoint.timeout)
            self._ready = True

    def close(self) -> None:
        """Let go of the connections."""
        self._asking.close()

    def embed_query(self, text: str) -> Vector:
        """The vector of a question. Raises `Unavailable`, soon."""
        return self.embed_queries([text])[0]

    def embed_queries(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of questions, in the order given; each as `embed_query` gives it. Raises `Unavailable`."""
        self.load(QUERY_SECONDS)
        with self._failures():
            return self._embed(texts, QUERY_SECONDS, QUERY_RETRIES)

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of passages, in the order given. Raises `Unavailable`; nothing is known of them then."""
        self.load()
        size = self._endpoint.batch
        batches = [texts[at : at + size] for at in range(0, len(texts), size)]
        with self._failures():
            return list(chain.from_iterable(self._crew.map(self._embed_batch, batches)))

    def _embed_batch(self, texts: Sequence[str]) -> list[Vector]:
        return self._embed(texts, self._endpoint.timeout, PASSAGE_RETRIES)

    def _embed(self, texts: Sequence[str], seconds: float, retries: int) -> list[Vector]:
        """All in one request if the endpoint takes that, else in halves."""
        if not texts:
            return []
        try:
            return self._ask([text[:MOST_CHARS] or " " for text in texts], seconds, retries)
        except Refused as refused:
            self._see_it_takes_others(refused, seconds)
            if len(texts) == 1:
                return [self._shortened(texts[0], seconds, retries)]
        half = len(texts) // 2
        return self._embed(texts[:half], seconds, retries) + self._embed(texts[half:], seconds, retries)

    def _see_it_takes_others(self, refused: Refused, seconds: float) -> None:
        """Whether the text was to blame. Raises `Unavailable` where the endpoint refuses any."""
        try:
            self._ask([PROBE], seconds, 0)
        except Refused:
            raise self._asking.failed(f"refuses every text: {refused}", MODEL) from refused

    def _shortened(self, text: str, seconds: float, retries: int) -> Vector:
        """The vector of as much of the text as is taken. It is tried whole again first: it may not be to blame."""
        size, why = min(len(text), MOST_CHARS), ""
        for chars in [size, *_shorter(size)]:
            try:
                return self._ask([text[:chars] or " "], seconds, retries)[0]
            except Refused as refused:
                why = str(refused)
        raise InvalidInput(f"the embedding endpoint at {self._endpoint.host} refuses the text: {why}", fields=("text",))

    def _ask(self, texts: Sequence[str], seconds: float, retries: int) -> list[Vector]:
        """Unit vectors of the promised length."""
        found = self._asking.ask(texts, seconds, retries, self._shortens)
        for vector in found:
            if len(vector) != self._dimensions:
                what = f"gives vectors of {len(vector)} numbers where {self._dimensions} were promised"
                raise self._asking.failed(what, MODEL)
        return [_unit(vector) for vector in found]

    def _measured(self, seconds: float) -> int:
        """The length of the vectors that are given, shortened if the operator wants that. Raises `EndpointFailed`."""
        began = time.monotonic()
        self._shortens, wanted = None, self._dimensions
        try:
            found = len(self._asking.ask([PROBE], seconds, 0)[0])
        except Refused as refused:
            raise self._asking.failed(f"refuses a plain text: {refused}", MODEL, final=True) from refused
        if wanted in (None, found):
            return found
        if not self._endpoint.dimensions:
            raise self._asking.failed(f"gives vectors of {found} numbers where it gave {wanted}", MODEL)
        rest = max(1.0, seconds - (time.monotonic() - began))
        self._check_shortened(wanted, found, rest)
        self._shortens = wanted
        return wanted

    def _check_shortened(self, wanted: int, own: int, seconds: float) -> None:
        try:
            given = len(self._asking.ask([PROBE], seconds, 0, wanted)[0])
        except Refused as refused:
            said = f"and refuses to give {wanted}: {refused}"
        else:
            if given == wanted:
                return
            said = f"and {given} when asked for {wanted}"
        raise self._asking.failed(f"gives vectors of {own} numbers, {said}", DIMENSIONS, final=True)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """After a failure nothing is asked for a while."""
        try:
            yield
        except EndpointFailed as error:
            self._failed, self._rests_until = error, time.monotonic() + error.retry_after
            self._ready = False
            raise


def _shorter(size: int) -> list[int]:
    """Lengths to cut a text of `size` to, the longest first; they do not depend on it, nor does then the vector."""
    halves = [MOST_CHARS >> shift for shift in range(MOST_CHARS.bit_length())]
    return [chars for chars in halves if FEWEST_CHARS <= chars < size]


def _unit(vector: Numbers) -> Vector:
    """The vector brought to unit length. Raises `Refused` for one that has none, such as with NaN."""
    try:
        length = math.hypot(*vector)
    except (TypeError, OverflowError) as error:
        raise Refused("an answer that holds something else than numbers") from error
    if not 0 < length < math.inf:
        raise Refused("a vector without a length: zeros, or numbers that are not finite")
    return [number / length for number in vector]
