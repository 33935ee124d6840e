"""Turns by a lock in Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest

from soma_core.adapters.postgres import turn as turns
from soma_core.adapters.postgres.turn import PostgresTurn
from tests.contract.turn import Make, TurnContract
from tests.support.postgres import PostgresServer
from tests.support.serving import until


@pytest.fixture
def make(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.0)
    made: list[PostgresTurn] = []

    def make(what: str, store_id: str = "s") -> PostgresTurn:
        made.append(PostgresTurn(database, store_id, what))
        return made[-1]

    yield make
    for turn in made:
        turn.give_up()


class TestPostgresTurn(TurnContract):
    pass


def test_stores_of_one_database_have_turns_of_their_own(database: str) -> None:
    two = [PostgresTurn(database, store_id, "indexing") for store_id in ("a", "b")]
    assert [turn.is_mine() for turn in two] == [True, True]
    for turn in two:
        turn.give_up()


def test_when_its_connection_breaks_another_takes_it_and_the_first_waits(
    make: Make, postgres: PostgresServer, database: str
) -> None:
    one, another = make("indexing"), make("indexing")
    assert [one.is_mine(), another.is_mine()] == [True, False]
    name = database.rpartition("/")[2]
    kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
    postgres.execute(f"{kill} (SELECT oid FROM pg_database WHERE datname = '{name}')", name)
    until(another.is_mine, "the turn of the other")
    assert [one.is_mine(), one.is_mine(), another.is_mine()] == [False, False, True]


def test_a_database_that_is_away_gives_no_turn(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise psycopg2.OperationalError("gone")

    monkeypatch.setattr(turns, "connect", refuse)
    assert make("indexing").is_mine() is False
