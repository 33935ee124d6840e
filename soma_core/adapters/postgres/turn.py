"""A turn that the database gives to one connection."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from contextlib import closing

import psycopg2
from psycopg2.extensions import connection

from soma_core.adapters.postgres.errors import Address, translated
from soma_core.adapters.postgres.pool import connect
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.domain.errors import SomaError

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""The connection is looked at so often, and the turn asked for."""
ALIVE = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"
"""A host that is gone without a word loses its turn within some ten seconds."""


class PostgresTurn:
    """`Turn` by an advisory lock: the server lets go of it when the connection that has it ends."""

    def __init__(self, url: str, store_id: str, what: str) -> None:
        """`what` is to be done; another turn for anything else, and for another store in the same database."""
        self._address = Address.parse(url)
        digest = hashlib.sha256(f"{store_id}\0{what}".encode()).digest()
        self._number = int.from_bytes(digest[:8], signed=True)
        self._what = what
        self._lock = threading.Lock()
        self._db: connection | None = None
        self._looked = float("-inf")
        self._mine = self._given_up = False

    def is_mine(self) -> bool:
        with self._lock:
            if not self._given_up and time.monotonic() - self._looked >= LOOK_SECONDS:
                before, self._mine = self._mine, self._take()
                self._looked = time.monotonic()
                if before != self._mine:
                    log.info("%s: %s", self._what, "this process does it now" if self._mine else "not here any more")
            return self._mine

    def holder(self) -> str | None:
        values = {"high": self._number >> 32 & 0xFFFF_FFFF, "low": self._number & 0xFFFF_FFFF}
        with translated(self._address), closing(connect(self._address)) as db, db.cursor() as own:
            own.execute(QUERIES["turn_holder"], values)
            rows = own.fetchall()
        return f"{rows[0][0]} at {rows[0][1] or 'this host'}" if rows else None

    def let_go(self) -> None:
        with self._lock:
            self._mine = False
            self._drop()

    def give_up(self) -> None:
        with self._lock:
            self._given_up, self._mine = True, False
            self._drop()

    def _take(self) -> bool:
        try:
            if self._db is None:
                self._db = connect(self._address)
                with self._db.cursor() as own:
                    own.execute(f"{ALIVE}; SET application_name = %s", (f"soma {socket.gethostname()} {os.getpid()}",))
            with self._db.cursor() as own:
                own.execute(QUERIES["keep_turn" if self._mine else "take_turn"], {"number": self._number})
                return own.fetchall() == [(True,)]
        except (psycopg2.Error, SomaError) as error:
            log.warning("%s: the database cannot be asked: %s", self._what, self._address.without_password(str(error)))
            self._drop()
            return False

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
