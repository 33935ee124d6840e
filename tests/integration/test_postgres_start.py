"""Opening a database: what is wrong with it is said at once, and never the password."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from soma_core.adapters.postgres import migrate as migrations
from soma_core.adapters.postgres.migrate import migrate, pending
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import InvalidInput, SomaError, StoreCorrupt, Unavailable
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.settings import load_settings
from soma_mcp.cli import soma
from tests.contract.records import put, texts
from tests.support.postgres import GUARDED_PASSWORD, QUICK, TEMPLATE, PostgresServer

PASSWORD = "hunter2hunter2"
SECONDS = 10.0


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """The address of a database without tables."""
    postgres.execute("CREATE DATABASE empty_one")
    yield postgres.url("empty_one")
    postgres.drop(postgres.url("empty_one"))


@pytest.fixture
def standby() -> Iterator[PostgresServer]:
    """A server that takes no writes, as one that follows another, with a database `test_both`."""
    server = PostgresServer(*QUICK)
    server.execute(f"CREATE DATABASE test_both TEMPLATE {TEMPLATE}")
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    yield server
    server.remove()


def refused(url: str, kind: type[SomaError]) -> str:
    """Why a store does not open."""
    start = time.monotonic()
    with pytest.raises(kind) as caught:
        PostgresRecordStore(url)
    assert time.monotonic() - start < SECONDS
    assert type(caught.value) is kind
    assert PASSWORD not in caught.value.message
    return caught.value.message


def test_an_address_where_nobody_listens_is_named(postgres: PostgresServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        said = refused(f"postgresql://soma:{PASSWORD}@127.0.0.1:{port}/soma", Unavailable)
    assert said.startswith(f"POSTGRES_URL: no connection to 127.0.0.1:{port}/soma as soma: ")
    assert "is Postgres running there" in said


def test_a_host_that_does_not_exist_is_named() -> None:
    said = refused(f"postgresql://soma:{PASSWORD}@no-such-host.invalid/soma", Unavailable)
    assert "no-such-host.invalid" in said


def test_a_host_that_takes_the_call_and_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        said = refused(f"postgresql://soma:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/soma", Unavailable)
    assert "timeout expired" in said


def test_a_wrong_password_is_told_without_it(postgres: PostgresServer) -> None:
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'p@ss#word'")
    host = f"127.0.0.1:{postgres.port}"
    said = refused(f"postgresql://guarded:{PASSWORD}@{host}/soma_template", InvalidInput)
    assert said.startswith(f"POSTGRES_URL: no connection to {host}/soma_template as guarded: ")
    assert said.endswith(': FATAL: password authentication failed for user "guarded": check user and password')
    assert "check user and password" in refused(f"postgresql://guarded@{host}/soma_template", InvalidInput)
    right = f"postgresql://guarded:{GUARDED_PASSWORD}@{host}/soma_template"
    assert "give the user rights on Soma's tables" in refused(right, Unavailable)


def test_a_database_and_a_user_that_are_not_there_are_told(postgres: PostgresServer) -> None:
    assert 'database "nowhere" does not exist: make the database' in refused(postgres.url("nowhere"), InvalidInput)
    assert 'role "nobody" does not exist' in refused(postgres.url("soma_template", "nobody"), InvalidInput)


@pytest.mark.parametrize("option", ["sslmode=require", "sslmode=verify-full&sslrootcert=/no/such/file"])
def test_a_server_without_the_encryption_that_is_asked_for_is_told(postgres: PostgresServer, option: str) -> None:
    assert "check sslmode" in refused(f"{postgres.url('soma_template')}?{option}", InvalidInput)


@pytest.mark.parametrize("url", [f"postgresql://u:{PASSWORD}%zz@h/d", f"postgresql://u:{PASSWORD}@h/d?what=x", "x"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    assert refused(url, InvalidInput).startswith("POSTGRES_URL: must be an address such as")


def test_of_several_hosts_the_one_that_takes_writes_is_used(
    standby: PostgresServer, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    only = f"postgresql://soma:{PASSWORD}@127.0.0.1:{standby.port}/test_both"
    said = refused(only, Unavailable)
    assert said.startswith(f"POSTGRES_URL: no connection to 127.0.0.1:{standby.port}/test_both as soma: ")
    assert said.endswith("session is read-only: it must name a server that takes writes, not only replicas")
    with pytest.raises(Unavailable, match="takes writes"):
        migrate(only)
    postgres.execute(f"CREATE DATABASE test_both TEMPLATE {TEMPLATE}")
    records = PostgresRecordStore(f"postgresql://soma@127.0.0.1:{standby.port},127.0.0.1:{postgres.port}/test_both")
    put(records, "fine")
    assert texts(records) == ["fine"]
    records.close()
    postgres.drop(postgres.url("test_both"))
    assert not caplog.messages
    asked_for = PostgresRecordStore(f"{only}?target_session_attrs=any")
    assert texts(asked_for) == []
    asked_for.close()
    assert "asks for a replica" in caplog.text
    assert PASSWORD not in caplog.text


def test_an_older_server_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "OLDEST_SERVER", 990_000)
    assert "13 or newer is needed" in refused(database, InvalidInput)


def test_another_encoding_is_refused(postgres: PostgresServer) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "has the encoding LATIN1, it must be UTF8" in refused(postgres.url("latin"), InvalidInput)


def test_a_database_without_tables_says_how_to_make_them(empty: str) -> None:
    assert "run `soma migrate`" in refused(empty, Unavailable)


def test_a_newer_schema_is_refused_and_left_alone(postgres: PostgresServer, database: str) -> None:
    name = database.rpartition("/")[2]
    postgres.execute("INSERT INTO soma_migrations VALUES (99, 'from the future')", name)
    assert "has schema 99" in refused(database, StoreCorrupt)
    for step in (migrate, pending):
        with pytest.raises(StoreCorrupt, match="upgrade Soma"):
            step(database)


def test_a_database_of_the_first_schema_is_brought_to_the_present_one(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = migrations.migrations()
    monkeypatch.setattr(migrations, "migrations", lambda: steps[:1])
    migrate(empty)
    records = PostgresRecordStore(empty)
    records.mark_indexed("kept")
    records.close()
    monkeypatch.setattr(migrations, "migrations", lambda: steps)
    assert "has schema 1" in refused(empty, Unavailable)
    assert migrate(empty) == steps[1:]
    records = PostgresRecordStore(empty)
    assert records.was_indexed("kept")
    put(records, "fine")
    assert texts(records) == ["fine"]
    records.close()


def test_migrating_twice_at_once_is_safe(empty: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: migrate(empty), range(4)))
    assert sorted(step.number for steps in taken for step in steps) == [step.number for step in migrations.migrations()]
    assert pending(empty) == []
    records = PostgresRecordStore(empty)
    put(records, "fine")
    assert texts(records) == ["fine"]
    records.close()


def test_a_step_that_fails_leaves_nothing(
    empty: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = migrations.migrations()
    following = steps[-1].number + 1
    broken = migrations.Migration(following, "broken", "CREATE TABLE half (x int); SELECT 1 / 0")
    monkeypatch.setattr(migrations, "migrations", lambda: [*steps, broken])
    with pytest.raises(Exception, match="division by zero"):
        migrate(empty)
    assert [step.number for step in pending(empty)] == [following]
    assert postgres.execute("SELECT to_regclass('half')", "empty_one") == [(None,)]


def test_a_user_who_may_not_make_tables_is_told(postgres: PostgresServer, empty: str) -> None:
    postgres.execute("CREATE ROLE humble LOGIN")
    with pytest.raises(InvalidInput, match=r"permission denied.*grant CREATE"):
        migrate(postgres.url("empty_one", "humble"))


def test_the_command_says_what_it_did(empty: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(soma, ["migrate", "--home", str(tmp_path), *arguments], env={"POSTGRES_URL": empty})
        return done.exit_code, done.output

    steps = [f"{step.number:04} {step.name}" for step in migrations.migrations()]
    assert steps[:2] == ["0001 records", "0002 outbox"]
    assert run("--check") == (1, "".join(f"pending: {step}\n" for step in steps))
    assert run() == (0, "".join(f"applied: {step}\n" for step in steps))
    assert run() == (0, "the schema is the present one\n")
    assert run("--check", "--json") == (0, json.dumps({"pending": []}) + "\n")


def test_the_command_without_a_database_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(soma, ["migrate", "--home", str(tmp_path)], env={"POSTGRES_URL": ""})
    assert done.exit_code == 1
    assert "POSTGRES_URL: is not set" in done.output


def test_the_engine_keeps_its_records_in_postgres_and_makes_the_tables_only_when_asked(
    empty: str, tmp_path: Path
) -> None:
    environment = {"SOMA_HOME": str(tmp_path), "POSTGRES_URL": empty, "SOMA_DISK_RESERVE": "0"}
    with pytest.raises(Unavailable, match="soma migrate"):
        create_memory_system(load_settings(environment))
    settings = load_settings(environment | {"SOMA_MIGRATE_ON_START": "true"})
    scope = Scope("api_ns")
    memory = create_memory_system(settings)
    receipt = memory.store(scope, NewMemory.parse("Owls sleep by day."))
    memory.index(scope)
    hits = memory.recall(scope, RecallQuery.parse("when do owls sleep")).hits
    assert [hit.memory.id for hit in hits] == [receipt.id]
    memory.close()
    assert not (tmp_path / "records.db").exists()
    memory = create_memory_system(load_settings(environment))
    assert memory.status(scope).live == 1
    memory.close()


def test_the_doctor_looks_at_the_tables(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    environment = {"POSTGRES_URL": database, "SOMA_HOME": str(tmp_path / "home")}
    runner = CliRunner()
    assert runner.invoke(soma, ["store", "Owls sleep by day."], env=environment).exit_code == 0
    well = runner.invoke(soma, ["doctor"], env=environment)
    assert "1 memories in api_ns, the tables in Postgres fit together" in well.output
    postgres.execute("DELETE FROM versions; UPDATE counts SET n = 7", database.rpartition("/")[2])
    ill = runner.invoke(soma, ["doctor"], env=environment)
    assert ill.exit_code == 1
    assert "1 live memories without what they say; 1 counts that are not those of the memories" in ill.output
