"""Which names a server that needs no token may be called by: a page of the web must not reach it (DNS rebinding)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

from starlette.datastructures import Headers

from soma_core.domain.errors import Forbidden
from soma_core.settings import Settings

_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?"


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen on."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=64)
def host_name(header: str) -> str | None:
    """The name in a `Host` header, without port and brackets; None for what is no name."""
    found = re.fullmatch(_HOST, header, re.ASCII)
    return found[1].strip("[]").lower() if found else None


def _origin_name(origin: str) -> str | None:
    found = re.fullmatch(rf"https?://{_HOST}", origin, re.ASCII | re.IGNORECASE)
    return found[1].strip("[]").lower() if found else None


class KnownHosts:
    """Loopback names, those that settings name, the public one and the one listened on."""

    def __init__(self, settings: Settings) -> None:
        public = _origin_name("/".join(settings.public_url.split("/")[:3])) if settings.public_url else None
        self._names = {name.strip("[]").lower() for name in (*settings.allowed_hosts, settings.host)}
        self._names |= {public} if public else set()
        self._origins = {origin.rstrip("/").lower() for origin in settings.cors_origins}

    def check(self, headers: Headers) -> None:
        """Refuse a request by an unknown name, or from a page of an unknown origin. Raises `Forbidden`."""
        name = host_name(headers.get("host", ""))
        if name is None or not (self._knows(name) or "*" in self._names):
            raise Forbidden(
                "the server is not called by this host name: while no token is needed, SOMA_ALLOWED_HOSTS must name it"
            )
        origin = headers.get("origin")
        if origin is None or self._origins & {"*", origin.lower()}:
            return
        page = _origin_name(origin)
        if page is None or not (page == name or self._knows(page)):
            raise Forbidden("pages of this origin may not call the server: SOMA_CORS_ORIGINS must name it")

    def _knows(self, name: str) -> bool:
        return is_loopback(name) or name in self._names
