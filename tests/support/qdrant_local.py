"""The Qdrant client's imitation of a server, which takes one call at a time."""

from __future__ import annotations

import threading
from typing import Any

from qdrant_client import QdrantClient


class LocalQdrant:
    """A client in local mode whose calls wait for each other, and whose data stays when it is closed."""

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")
        self._lock = threading.Lock()

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                return method(*args, **options)

        return call
