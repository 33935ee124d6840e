"""A private Postgres for the tests: made, started and thrown away by them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from soma_core.adapters.postgres.migrate import migrate
from tests.support.ports import free_port

USER = "soma"
TEMPLATE = "soma_template"
GUARDED_PASSWORD = "p%40ss#word"
QUICK = ("fsync=off", "synchronous_commit=on", "full_page_writes=off")
DURABLE = ("fsync=on",)
_numbers = count()


class PostgresServer:
    """One server on a free loopback port, with a database `soma_template` that has Soma's tables."""

    def __init__(self, *settings: str) -> None:
        self._bin = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="soma-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        self.port = free_port()
        self._run("initdb", "-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        rules = self.data / "pg_hba.conf"
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        with (self.data / "postgresql.conf").open("a") as file:
            for setting in (*settings, "shared_buffers=64MB", "max_connections=200", "lc_messages='C'"):
                file.write(f"{setting}\n")
            file.write(f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{self.folder}'\n")
        self.start()
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(self.url(TEMPLATE))

    def url(self, database: str, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The address of a fresh database with Soma's tables: a store of its own, not a copy of the template's."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        self.execute("UPDATE meta SET value = gen_random_uuid() WHERE key = 'store_id'", name)
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the owner of everything."""
        with contextlib.closing(psycopg2.connect(self.url(database))) as db, db.cursor() as cursor:
            db.autocommit = True
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-s", "-D", str(self.data), "-l", str(log))

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-s", "-D", str(self.data), "-m", mode)

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        lower = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups") if os.geteuid() == 0 else ()
        command = [*lower, str(self._bin / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)


def programs() -> Path:
    """Where Postgres' programs are; skips the test, or fails it, where there are none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    for program in (shutil.which("initdb"), *installed):
        if program:
            return Path(program).resolve().parent
    reason = "there is no Postgres on this machine (initdb is neither on PATH nor in /usr/lib/postgresql)"
    if os.environ.get("SOMA_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests, quick because a crash of the machine would be its end."""
    server = PostgresServer(*QUICK)
    yield server
    server.remove()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The address of a database of the test's own."""
    url = postgres.database()
    yield url
    postgres.drop(url)
