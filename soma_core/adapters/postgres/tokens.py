"""TokenStore on Postgres."""

from __future__ import annotations

from datetime import datetime

from soma_core.adapters.postgres.pool import Pool
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.values import micros, token_of
from soma_core.domain.errors import Conflict
from soma_core.domain.tokens import Token


class PostgresTokenStore:
    """The table `tokens` beside the records; the record store closes the connections.

    The same token with the same digest may be added again: so an answer that got lost does no harm.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def add(self, token: Token, digest: bytes) -> None:
        values = {
            "id": token.id,
            "namespace": token.namespace,
            "scopes": ",".join(token.scopes),
            "created": micros(token.created_at),
            "expires": micros(token.expires_at) if token.expires_at else None,
            "revoked": micros(token.revoked_at) if token.revoked_at else None,
            "name": token.name,
            "digest": digest,
        }
        if not self._pool.write(lambda tx: tx.fetch(QUERIES["add_token"], values)):
            raise Conflict(f"id: there is a token {token.id} already", fields=("id",))

    def find(self, token_id: str) -> tuple[Token, bytes] | None:
        rows = self._pool.read(QUERIES["find_token"], {"id": token_id})
        return (token_of(rows[0][:-1]), bytes(rows[0][-1])) if rows else None

    def list(self) -> list[Token]:
        return [token_of(row) for row in self._pool.read(QUERIES["tokens"], {})]

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        rows = self._pool.write(lambda tx: tx.fetch(QUERIES["revoke_token"], {"id": token_id, "at": micros(at)}))
        return token_of(rows[0]) if rows else None
