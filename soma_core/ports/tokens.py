"""Tokens that were handed out."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from soma_core.domain.tokens import Token


class TokenStore(Protocol):
    """Durable: a mutating call returns after its change is synced. Safe to call from many threads.

    Tokens are never removed; a revoked one stays as the record that it was. Every read sees all that was committed
    before it began. `Unavailable`: the store cannot take writes, or cannot be reached. `StoreCorrupt`: it is damaged.
    """

    def add(self, token: Token, digest: bytes) -> None:
        """Keep a token with the SHA-256 of its secret. Raises `Conflict`, changing nothing, when its id is taken."""
        ...

    def find(self, token_id: str) -> tuple[Token, bytes] | None:
        """The token with an id, revoked and expired ones too, and its digest; None when there is none."""
        ...

    def list(self) -> list[Token]:
        """Every token of every namespace, the oldest first, then by id."""
        ...

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        """Make a token good for nothing and return it; None for an unknown id.

        The moment of the first revocation stays.
        """
        ...
