"""Who bears a token: that of the settings, one of the store, or a JWT."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime

from anyio import Lock

from soma_core.domain.memory import Scope
from soma_core.domain.tokens import secret_id
from soma_core.engine import Soma
from soma_core.settings import Settings
from soma_mcp.http.hosts import is_loopback
from soma_mcp.http.jwts import Jwts, oauth_of
from soma_mcp.http.principals import ALL_SCOPES, Principal
from soma_mcp.sharing import SharedSoma

KNOWN_SECONDS = 1.0
"""A token that was good is not looked up again for so long; so long it may outlive its revocation."""
KNOWN_TOKENS = 1_024

Bearer = tuple[Principal, datetime | None]
"""Who it is, and when the token ends."""


class Bearers:
    """Recognises tokens. Belongs to one event loop."""

    def __init__(self, settings: Settings, memory: SharedSoma) -> None:
        """Raises `InvalidInput` when OAuth is set up by halves."""
        self._settings = settings
        self._memory = memory
        self._scope = Scope(settings.namespace, "http")
        self._api_token = settings.api_token.encode() if settings.api_token else None
        oauth = oauth_of(settings)
        self._jwts = Jwts(oauth) if oauth else None
        self._needed = bool(self._api_token or oauth or not is_loopback(settings.host))
        self._looked = -KNOWN_SECONDS
        self._looking = Lock()
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def needed(self) -> bool:
        """Whether callers must bring a token.

        Once a token was made they must for good: its end, or revoking it, opens the door to nobody. A new token is
        noticed within a second.
        """
        if self._needed or time.monotonic() < self._looked + KNOWN_SECONDS:
            return self._needed
        async with self._looking:
            if not self._needed and time.monotonic() >= self._looked + KNOWN_SECONDS:
                self._needed = bool(await self._memory.call(Soma.tokens, self._scope))
                self._looked = time.monotonic()
        return self._needed

    async def principal(self, secret: bytes) -> Principal | None:
        """Who bears the secret; None when it is not good. Raises `Unavailable` when that cannot be told now."""
        if self._api_token is not None and hmac.compare_digest(secret, self._api_token):
            return Principal(self._settings.namespace, ALL_SCOPES, "api_token")
        digest = hashlib.sha256(secret).digest()
        found = self._known.get(digest)
        if found and time.monotonic() < found[1]:
            return found[0]
        self._known.pop(digest, None)
        bearer = await self._bearer(secret)
        return self._remember(digest, *bearer) if bearer else None

    async def _bearer(self, secret: bytes) -> Bearer | None:
        try:
            text = secret.decode("ascii")
        except UnicodeDecodeError:
            return None
        if secret_id(text) is not None:
            token = await self._memory.call(Soma.authenticate, self._scope, text)
            if token is None:
                return None
            return Principal(token.namespace, frozenset(token.scopes), f"token:{token.id}"), token.expires_at
        return await self._jwts.principal(text) if self._jwts and text.count(".") == 2 else None

    def _remember(self, digest: bytes, principal: Principal, ends: datetime | None) -> Principal:
        left = (ends - datetime.now(UTC)).total_seconds() if ends else KNOWN_SECONDS
        if len(self._known) >= KNOWN_TOKENS:
            self._known.clear()
        self._known[digest] = (principal, time.monotonic() + min(left, KNOWN_SECONDS))
        return principal


def usable_tokens(memory: SharedSoma, settings: Settings) -> bool:
    """Whether a token of the store is good now, for `check_exposure`."""
    now = datetime.now(UTC)
    return any(token.usable(now) for token in memory.tokens(Scope(settings.namespace, "http")))
