"""What requests look like, for FastAPI's checks and the OpenAPI document.

Fields are checked twice: their JSON types here, what they may hold in the domain. Unknown fields are ignored, as the
API has always done.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

MAX_ITEMS = 1_000
MAX_QUERIES = 32
MAX_TOP_K = 100

EXAMPLE_PAYLOAD = {"text": "Ana prefers tabs over spaces", "project": "heron"}

TypeName = Literal["episodic", "semantic", "procedural"]
Coordinate = Annotated[str, Field(description="1 to 8 finite numbers joined by commas", examples=["1,2.5,3"])]
TopK = Annotated[int, Field(ge=1, le=MAX_TOP_K, description="How many memories at most")]
Order = Literal["score", "time"]
MaxTokens = Annotated[int | None, Field(ge=1, le=100_000, description="Budget for the answer; default: none")]
SinceCursor = Annotated[
    str | None, Field(description="The `cursor` of an earlier answer: what was shown by then is left out")
]
Filters = Annotated[
    dict[str, Any],
    Field(
        description="types, tags, thread, speaker, since and until restrict by these fields of a memory; any other "
        "name must have an equal value in the payload of a candidate, objects inside likewise. At most 8 levels deep.",
        examples=[{"thread": "sprint-12", "project": "heron"}],
    ),
]


class Body(BaseModel):
    """A JSON object whose fields have just the types that are named."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Item(Body):
    """One memory to store."""

    payload: dict[str, Any] | None = Field(
        None, description="Kept with the memory as it is given", examples=[EXAMPLE_PAYLOAD]
    )
    text: str | None = Field(
        None, description="Default: payload.text, else payload.content, else the payload's strings, a line each"
    )
    coord: Coordinate | None = Field(None, description="Storing at the same coordinate again revises the memory there")
    type: TypeName = "episodic"
    tags: list[str] | None = None
    thread: str | None = Field(None, description="The conversation, task or run it belongs to")
    speaker: str | None = None
    occurred_at: str | None = Field(None, description="ISO 8601; default now", examples=["2026-03-14T09:30:00Z"])
    importance: float | None = Field(None, ge=0, le=1)


class Store(Item):
    """A memory to store, and how."""

    key: str | None = Field(None, description="Idempotency key; the header Idempotency-Key is the same")
    check: bool = Field(False, description="Look for similar memories first; the same text is not stored twice")


class StoreBulk(Body):
    """Memories to store."""

    items: list[Annotated[Any, WithJsonSchema({"type": "object"})]] = Field(
        max_length=MAX_ITEMS,
        description="Memories as in /store, without key and check",
        examples=[[{"payload": EXAMPLE_PAYLOAD, "coord": "1,2,3"}]],
    )
    partial: bool = Field(False, description="Store the good items although others are bad")
    key: str | None = None


class Question(Body):
    """What every recall takes beside its query."""

    top_k: TopK = 5
    type: TypeName | None = None
    filters: Filters | None = None
    fold: bool = Field(False, description="Show memories that say the same as one, the others in its `alike`")
    since_cursor: SinceCursor = None
    recency: bool = Field(True, description="Whether the newer of equals comes first, by a little")


class Recall(Question):
    """A question in words."""

    query: str = Field(examples=["How does Ana indent?"])
    hybrid: bool | None = Field(None, description="false: by meaning only; default: by words too")
    order: Order = "score"
    max_tokens: MaxTokens = None


class RecallBatch(Question):
    """Several questions."""

    queries: list[str] = Field(min_length=1, max_length=MAX_QUERIES, examples=[["How does Ana indent?"]])
    hybrid: bool | None = None


class HybridRecall(Question):
    """A question, and terms that lift the memories which hold them."""

    query: str = Field(examples=["How does Ana indent?"])
    terms: list[str] | None = Field(None, description="Default: the longer words of the query", examples=[["tabs"]])
    boost: float = Field(2.0, ge=0, le=100, description="Added to the score where all terms are found")
    exact: bool = Field(True, description="Whole words only")
    case_sensitive: bool = False


class RecallWithContext(Question):
    """A question and what surrounds it."""

    query: str = Field(examples=["How does Ana indent?"])
    context: dict[str, Any] | str = Field(
        description="Its strings are searched for with the query", examples=[{"project": "heron"}]
    )

    @field_validator("context", mode="before")
    @classmethod
    def _either(cls, value: object) -> object:
        if not isinstance(value, dict | str):
            raise PydanticCustomError("context", "Must be an object or a string")
        return value


class KeywordSearch(Body):
    """A term as it is written."""

    term: str = Field(examples=["tabs"])
    exact: bool = Field(True, description="Whole words only; otherwise a part of a word counts too")
    case_sensitive: bool = False
    top_k: TopK = 50
    type: TypeName | None = None


class Forget(Body):
    """What to forget: ids, or a filter."""

    ids: list[str] | None = Field(None, examples=[["1f0a7c11d3e2"]])
    thread: str | None = None
    tags: list[str] | None = None
    before: str | None = Field(None, description="All that occurred earlier (ISO 8601)")
    speaker: str | None = None
    purge: bool = Field(False, description="Erase texts and versions for good")
    dry_run: bool = Field(False, description="Only say what would be forgotten")
    reason: str | None = None
    key: str | None = None
