"""The deployment on servers: each data folder of a test has a database, a collection and topics of its own."""

from __future__ import annotations

import signal
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

from soma_core.adapters.qdrant.server_client import Address, connect
from tests.support.deployments import deployed
from tests.support.distributed import WorkerProcess
from tests.support.kafka import Broker
from tests.support.postgres import PostgresServer
from tests.support.redis_server import RedisServer


class OnServers:
    """Postgres, Qdrant and Redis; with a broker, what is stored is indexed by a worker process."""

    def __init__(
        self, postgres: PostgresServer, qdrant: dict[str, str], redis: RedisServer, broker: Broker | None = None
    ) -> None:
        self._postgres = postgres
        self._qdrant = qdrant
        self._redis = redis
        self._broker = broker
        self._prefix = f"twice-{uuid4()}"
        self._homes: dict[Path, dict[str, str]] = {}
        self._open = ExitStack()
        self._open.callback(self._delete_collections)

    def __call__(self, home: Path) -> dict[str, str]:
        """The settings of a data folder; what it needs is made when they are first asked for."""
        if home not in self._homes:
            self._homes[home] = self._made()
            if self._broker:
                self._start_worker(home)
        return self._homes[home]

    def close(self) -> None:
        self._open.close()

    def _made(self) -> dict[str, str]:
        database = self._postgres.database()
        self._open.callback(self._postgres.drop, database)
        made = {
            "POSTGRES_URL": database,
            "REDIS_URL": self._redis.url,
            "QDRANT_COLLECTION": f"{self._prefix}-{uuid4()}",
        }
        if self._broker:
            made |= {"KAFKA_BOOTSTRAP_SERVERS": self._broker.servers, "KAFKA_TOPIC_PREFIX": f"{uuid4()}."}
        return made | self._qdrant

    def _start_worker(self, home: Path) -> None:
        home.parent.mkdir(parents=True, exist_ok=True)
        with deployed(self):
            worker = WorkerProcess(home, "all", {})
        self._open.callback(worker.end, signal.SIGKILL)

    def _delete_collections(self) -> None:
        """Delete the collections of all folders, and of later generations."""
        address = Address(self._qdrant["QDRANT_URL"], api_key=self._qdrant.get("QDRANT_API_KEY"))
        with closing(connect(address, self._prefix)) as client:
            for found in client.get_collections().collections:
                if found.name.startswith(self._prefix):
                    client.delete_collection(found.name)
