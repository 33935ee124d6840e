"""What a caller has already been shown, as a short string that the caller keeps."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from soma_core.domain.validation import check_string, invalid

MARK_BYTES = 3
CHECK_BYTES = 3
MOST_SEEN = 250
"""The newest marks that a cursor keeps. With so many, one unseen memory in 67,000 is taken for a seen one."""
MAX_CURSOR = 4 * (CHECK_BYTES + MOST_SEEN * MARK_BYTES) // 3
"""Characters: four for the check and four a memory."""
_PLACE = "since_cursor"


class Seen(NamedTuple):
    """The versions of memories that a caller has; the newest last."""

    marks: tuple[bytes, ...] = ()

    def has(self, memory_id: UUID, version: int) -> bool:
        """Whether the caller has this version of this memory."""
        return bool(self.marks) and _mark(memory_id, version) in self.marks

    def adding(self, shown: Iterable[tuple[UUID, int]]) -> Seen:
        """These, and what is shown now, as far as they are not too many."""
        fresh = [_mark(memory_id, version) for memory_id, version in shown]
        return Seen(tuple(dict.fromkeys(mark for mark in (*self.marks, *fresh)))[-MOST_SEEN:])

    def __str__(self) -> str:
        """The cursor; empty when nothing has been shown."""
        if not self.marks:
            return ""
        body = b"".join(self.marks)
        return base64.urlsafe_b64encode(_check(body) + body).decode()

    @classmethod
    def parse(cls, value: object) -> Seen:
        """The inverse of `str`. Raises `InvalidInput` for what is no cursor, or one that lost a part."""
        text = check_string(_PLACE, value, max_chars=MAX_CURSOR).strip()
        try:
            data = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        check, body = data[:CHECK_BYTES], data[CHECK_BYTES:]
        if not body or len(body) % MARK_BYTES or check != _check(body):
            raise invalid(_PLACE, "is no cursor: give the `cursor` of an earlier recall, whole, or leave it out")
        return cls(tuple(body[at : at + MARK_BYTES] for at in range(0, len(body), MARK_BYTES)))


def _mark(memory_id: UUID, version: int) -> bytes:
    return hashlib.blake2s(memory_id.bytes + version.to_bytes(8, "big"), digest_size=MARK_BYTES).digest()


def _check(body: bytes) -> bytes:
    """What tells a cursor from any other text; names the format too."""
    return hashlib.blake2s(body, digest_size=CHECK_BYTES, person=b"cursor1").digest()
