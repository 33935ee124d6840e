"""Loopback ports for the servers that the tests start."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 20_000, 32_000
"""Below what systems give to outgoing connections: between finding a port and listening on it, none takes it."""


def free_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Ports in a row that nobody listens on."""
    chance = random.SystemRandom()
    while True:
        first = chance.randrange(LOWEST, HIGHEST - number)
        ports = list(range(first, first + number))
        if all(_is_free(port) for port in ports):
            return ports


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
