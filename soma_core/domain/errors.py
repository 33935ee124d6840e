"""The one tree of errors.

SomaError
├── InvalidInput          a field is wrong: which, why, what is allowed
│   └── BadCoordinate     not 1 to 8 finite numbers
├── NotFound              unknown id, coordinate, path
├── Conflict              the state is not what the caller assumed
├── Unauthenticated       no token, or none that is good
├── Forbidden             the token does not allow it
├── TooLarge              a body or batch is over its cap
├── ModelMissing          no usable embedding model
├── ModelMismatch         the index was built with another model
├── StoreCorrupt          the record store cannot be trusted; nothing was written
└── Retryable             the same call may succeed later; nothing was taken
    ├── Overloaded
    ├── RateLimited
    └── Unavailable       a needed service is down, or the disk is below its reserve
        └── FolderInUse   another process owns the data folder
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SomaError(Exception):
    """An anticipated failure with a stable ``code``, the fields it is about, and what to do next."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.fields = tuple(fields)


class InvalidInput(SomaError):
    """A field is wrong; the message says which, why, and what is allowed."""

    code = "invalid_input"


class BadCoordinate(InvalidInput):
    """A coordinate is not 1 to 8 finite numbers."""

    code = "bad_coordinate"


class NotFound(SomaError):
    """No such id in this namespace."""

    code = "not_found"


class Conflict(SomaError):
    """The state is not what the caller assumed, such as a request id used with other arguments."""

    code = "conflict"


class Unauthenticated(SomaError):
    """The caller gave no token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(SomaError):
    """The caller's token does not allow this."""

    code = "forbidden"


class TooLarge(SomaError):
    """A request body or a batch is over its cap; nothing was taken."""

    code = "too_large"


class ModelMissing(SomaError):
    """The embedding model cannot be loaded; another one is never taken in its place."""

    code = "model_missing"


class ModelMismatch(SomaError):
    """The index was built with another model; ``soma reindex`` rebuilds it with this one."""

    code = "model_mismatch"


class StoreCorrupt(SomaError):
    """The record store is damaged. Nothing was written to it."""

    code = "store_corrupt"


class Retryable(SomaError):
    """The same call may succeed later. Nothing was taken. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, fields: Sequence[str] = (), retry_after: float = 1.0) -> None:
        super().__init__(message, fields=fields)
        self.retry_after = retry_after


class Overloaded(Retryable):
    """Too much work at once."""

    code = "overloaded"


class RateLimited(Retryable):
    """The caller asked more often than it may."""

    code = "rate_limited"


class Unavailable(Retryable):
    """A needed service is down, or the disk is below its reserve."""

    code = "unavailable"


class FolderInUse(Unavailable):
    """Another process owns the data folder; reach the memory through that one."""

    code = "folder_in_use"


def error_classes() -> dict[str, type[SomaError]]:
    """Every class of the tree by its code, for doors that carry errors over a wire."""
    found: dict[str, type[SomaError]] = {}
    queue: list[type[SomaError]] = [SomaError]
    while queue:
        cls = queue.pop()
        found.setdefault(cls.code, cls)
        queue.extend(cls.__subclasses__())
    return found
