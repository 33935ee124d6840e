"""Tokens: who may do what in which namespace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from soma_core.domain.validation import MAX_NAME, check_choice, check_string, check_time, invalid

SCOPES = ("read", "write", "admin")
"""What a token may allow; `admin` allows all."""

MAX_DAYS = 36_500
_SECRET = re.compile(r"soma_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; its secret is not."""

    id: str
    """Twelve hexadecimal digits, which stand in the secret too."""
    namespace: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    """The first moment at which it is good no more; None: never."""
    revoked_at: datetime | None = None
    name: str | None = None

    def usable(self, now: datetime) -> bool:
        """Whether it is good at a moment: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made, with the text that its bearer shows: it is kept nowhere."""

    token: Token
    secret: str


def secret_text(token_id: str, random: str) -> str:
    """The text of a token: `soma_<id>_<43 url-safe random characters>`."""
    return f"soma_{token_id}_{random}"


def secret_id(text: str) -> str | None:
    """The id in the text of a token; None for what is no token of Soma."""
    found = _SECRET.fullmatch(text)
    return found[1] if found else None


def check_token_name(value: object) -> str:
    """What a token is called: 1 to 256 characters."""
    return check_string("name", value, max_chars=MAX_NAME)


def parse_scopes(value: object) -> tuple[str, ...]:
    """Scopes from a list, or from text that joins them by commas or blanks; without repeats, in the order of `SCOPES`.

    Raises `InvalidInput`, also when there is none.
    """
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, Iterable):
        raise invalid("scopes", f"must be some of {', '.join(SCOPES)}")
    given = {check_choice("scopes", part, SCOPES) for part in parts}
    if not given:
        raise invalid("scopes", f"must name at least one of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)


def parse_expiry(value: object, now: datetime) -> datetime:
    """The moment a token ends: days from now such as `30d`, or an ISO 8601 time; a date includes that day.

    Raises `InvalidInput`, also for a moment that is past.
    """
    days = re.fullmatch(r"\s*(\d{1,5})\s*d\s*", value, re.ASCII) if isinstance(value, str) else None
    if days is None:
        return check_expiry(check_time("expires", value, end=True), now)
    if not 1 <= int(days[1]) <= MAX_DAYS:
        raise invalid("expires", f"must be 1 to {MAX_DAYS} days")
    return check_expiry(now + timedelta(days=int(days[1])), now)


def check_expiry(moment: datetime, now: datetime) -> datetime:
    """A moment after now. Raises `InvalidInput`."""
    if moment <= now:
        raise invalid("expires", f"is {moment.isoformat()}, which is past")
    return moment
