"""Tokens: made, listed, revoked, and told from others."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from soma_core.domain.errors import NotFound
from soma_core.domain.tokens import (
    NewToken,
    Token,
    check_expiry,
    check_token_name,
    parse_scopes,
    secret_id,
    secret_text,
)
from soma_core.domain.validation import check_namespace
from soma_core.ports.clock import Clock
from soma_core.ports.tokens import TokenStore


class Tokens:
    """Handing out tokens and recognising them. Only the SHA-256 of a secret is kept: it has 256 random bits."""

    def __init__(self, store: TokenStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def create(self, namespace: str, scopes: Sequence[str], expires_at: datetime | None, name: str | None) -> NewToken:
        """Make a token; its secret is in the answer and nowhere else. Raises `InvalidInput`."""
        now = self._clock()
        token = Token(
            id=secrets.token_hex(6),
            namespace=check_namespace(namespace),
            scopes=parse_scopes(scopes),
            created_at=now,
            expires_at=check_expiry(expires_at, now) if expires_at is not None else None,
            name=check_token_name(name) if name is not None else None,
        )
        secret = secret_text(token.id, secrets.token_urlsafe(32))
        self._store.add(token, _digest(secret))
        return NewToken(token, secret)

    def list(self) -> list[Token]:
        return self._store.list()

    def revoke(self, token_id: str) -> Token:
        """Raises `NotFound`."""
        token = self._store.revoke(token_id, self._clock())
        if token is None:
            raise NotFound("id: there is no such token; `soma token list` shows them", fields=("id",))
        return token

    def authenticate(self, secret: str) -> Token | None:
        """The usable token with this secret. How long it takes tells nothing of a secret that is almost right."""
        token_id = secret_id(secret)
        found = self._store.find(token_id) if token_id is not None else None
        if found is None:
            return None
        token, digest = found
        return token if hmac.compare_digest(_digest(secret), digest) and token.usable(self._clock()) else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
