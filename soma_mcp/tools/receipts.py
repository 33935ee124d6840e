"""What writes, and a look at the whole, come to as structured content and as text."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from soma_core.domain.receipts import ForgetReceipt, Indexed, StoreReceipt
from soma_core.engine import Status
from soma_mcp.tools.answers import stamp

MAX_REASON = 1_000


class SimilarAnswer(TypedDict):
    id: str
    text: str
    score: float


class StoreAnswer(TypedDict):
    id: str
    version: int
    status: str
    indexed: Indexed
    similar: list[SimilarAnswer]


def describe_stored(receipt: StoreReceipt) -> StoreAnswer:
    """A receipt as structured content."""
    return {
        "id": str(receipt.id),
        "version": receipt.version,
        "status": receipt.status.value,
        "indexed": receipt.indexed,
        "similar": [{"id": str(s.id), "text": s.text, "score": round(s.score, 4)} for s in receipt.similar],
    }


class ForgetAnswer(TypedDict):
    count: int
    ids: list[str]
    not_found: list[str]
    dry_run: bool
    records: Literal["forgotten", "purged", "purge pending", "untouched"]
    index: Literal["removed", "pending", "untouched"]


def describe_receipt(receipt: ForgetReceipt) -> ForgetAnswer:
    """A receipt as structured content."""
    return {
        "count": receipt.count,
        "ids": [str(key) for key in receipt.ids],
        "not_found": list(receipt.not_found),
        "dry_run": receipt.dry_run,
        "records": receipt.records,
        "index": receipt.index,
    }


def shown_receipt(receipt: ForgetReceipt) -> str:
    """A receipt in one line."""
    if receipt.dry_run:
        text = f"{receipt.count} memories would be forgotten"
    else:
        text = f"{receipt.count} memories forgotten (records: {receipt.records}, index: {receipt.index})"
    return text + (f"; unknown: {', '.join(receipt.not_found)}" if receipt.not_found else "")


class CountsAnswer(TypedDict):
    live: int
    forgotten: int
    purged: int
    types: dict[str, int]


class PendingAnswer(TypedDict):
    words: int
    vectors: int
    oldest: str | None


class ModelAnswer(TypedDict):
    id: str
    ready: bool


class StatusAnswer(TypedDict):
    namespace: str
    counts: CountsAnswer
    pending: PendingAnswer
    model: ModelAnswer
    health: list[str]
    version: str


def describe_status(found: Status) -> StatusAnswer:
    """A status as structured content."""
    oldest = stamp(found.pending_oldest) if found.pending_oldest else None
    return {
        "namespace": found.namespace,
        "counts": {
            "live": found.live,
            "forgotten": found.forgotten,
            "purged": found.purged,
            "types": found.types,
        },
        "pending": {"words": found.pending_words, "vectors": found.pending_vectors, "oldest": oldest},
        "model": {"id": found.model, "ready": found.model_ready},
        "health": found.health,
        "version": found.version,
    }


def shown_status(found: Status) -> str:
    """A status in a few lines."""
    since = f", the oldest since {stamp(found.pending_oldest)}" if found.pending_oldest else ""
    types = ", ".join(f"{n} {kind}" for kind, n in found.types.items())
    lines = [
        f"{found.live} memories in {found.namespace} ({types}); {found.forgotten} forgotten, {found.purged} purged",
        f"pending: {found.pending_words} words, {found.pending_vectors} vectors{since}",
        f"model: {found.model} ({'ready' if found.model_ready else 'not loaded'})",
        "health: " + ("; ".join(found.health) or "good"),
        f"version: {found.version}",
    ]
    return "\n".join(lines)
