"""JWTs of an OAuth authorization server, checked by the keys that it publishes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from anyio import CapacityLimiter, to_thread
from jwt import PyJWKClient, PyJWKClientConnectionError, PyJWTError

from soma_core.domain.errors import InvalidInput, Unavailable
from soma_core.domain.tokens import SCOPES
from soma_core.domain.validation import check_namespace, printable
from soma_core.settings import Settings
from soma_mcp.http.principals import Principal

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
FETCH_SECONDS = 3.0
KEYS_SECONDS = 300.0
PAUSE_SECONDS = 1.0
"""After the keys could not be fetched, nobody tries again for so long."""
LEEWAY_SECONDS = 5.0
AT_ONCE = 4
"""JWTs checked at the same time; checking one takes some 0.1 ms, or as long as fetching the keys."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """The authorization server that is trusted, and what it must say."""

    issuer: str
    jwks_url: str
    audience: str
    namespace_claim: str


def oauth_of(settings: Settings) -> OAuth | None:
    """What the settings say about OAuth; None when they say nothing. Raises `InvalidInput` when a part is missing."""
    if settings.oauth_issuer is None and settings.oauth_jwks_url is None:
        return None
    audience = settings.oauth_audience or (settings.public_url and f"{settings.public_url}/mcp")
    wanted = {
        "SOMA_OAUTH_ISSUER": settings.oauth_issuer,
        "SOMA_OAUTH_JWKS_URL": settings.oauth_jwks_url,
        "SOMA_OAUTH_AUDIENCE": audience,
    }
    missing = [name for name, value in wanted.items() if not value]
    if not settings.oauth_issuer or not settings.oauth_jwks_url or not audience:
        hint = " (or SOMA_PUBLIC_URL, for the audience)" if not audience else ""
        raise InvalidInput(f"OAuth also needs {', '.join(missing)}{hint}", fields=missing)
    return OAuth(settings.oauth_issuer, settings.oauth_jwks_url, audience, settings.oauth_namespace_claim)


class _Keys(PyJWKClient):
    """The issuer's keys, fetched at most every few minutes, and for an unknown key at most every half minute."""

    _paused_until = 0.0

    def fetch_data(self) -> Any:
        """Raises `PyJWKClientConnectionError` for whatever went wrong."""
        if time.monotonic() < self._paused_until:
            raise PyJWKClientConnectionError("the keys could not be fetched a moment ago")
        try:
            return super().fetch_data()
        except (PyJWTError, OSError, ValueError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise PyJWKClientConnectionError(str(error)) from error


class Jwts:
    """Tells who bears a JWT."""

    def __init__(self, oauth: OAuth) -> None:
        self._oauth = oauth
        self._keys = _Keys(oauth.jwks_url, lifespan=KEYS_SECONDS, timeout=FETCH_SECONDS)
        self._limiter = CapacityLimiter(AT_ONCE)

    async def principal(self, token: str) -> tuple[Principal, datetime] | None:
        """Who bears it, and when it ends; None for a JWT that is not good here.

        Raises `Unavailable` when the issuer's keys cannot be had.
        """
        return await to_thread.run_sync(self._check, token, limiter=self._limiter, abandon_on_cancel=True)

    def _check(self, token: str) -> tuple[Principal, datetime] | None:
        try:
            claims = self._claims(token)
            return self._bearer(claims), datetime.fromtimestamp(claims["exp"], UTC)
        except PyJWKClientConnectionError as error:
            raise Unavailable("the keys of SOMA_OAUTH_ISSUER cannot be fetched; no JWT can be checked now") from error
        except (PyJWTError, InvalidInput, ValueError, TypeError, OverflowError, OSError, RecursionError):
            return None

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
            raise jwt.InvalidTokenError("another algorithm, or no key is named")
        found: dict[str, Any] = jwt.decode(
            token,
            self._keys.get_signing_key(header["kid"]),
            algorithms=ALGORITHMS,
            audience=self._oauth.audience,
            issuer=[self._oauth.issuer, f"{self._oauth.issuer}/"],
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
        return found

    def _bearer(self, claims: dict[str, Any]) -> Principal:
        given = claims.get("scope", claims.get("scp", ()))
        scopes = given.split() if isinstance(given, str) else given
        namespace = check_namespace(claims.get(self._oauth.namespace_claim))
        subject = printable(str(claims.get("sub") or claims.get("client_id") or "unknown"))
        return Principal(namespace, frozenset(s for s in SCOPES if s in scopes), f"oauth:{subject[:128]}")
