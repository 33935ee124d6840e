"""Files of earlier versions open, and keep what they hold."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from soma_core.adapters.sqlite import database
from soma_core.adapters.sqlite.database import APPLICATION_ID, SCHEMA_VERSION
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.candidates import features_of
from soma_core.domain.errors import StoreCorrupt, Unavailable
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.query import BrowseQuery, Filter
from tests.contract.tokens import token
from tests.support.requests import new, request, stored

TEXTS = ["one", "Never mind two", "always three"]
SCHEMA_1 = Path(__file__).parents[1] / "support" / "schema_1.sql"


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def schema(path: Path) -> dict[str, str]:
    """What makes each table and index, without white space: a column that was added stands on the line before."""
    with closing(sqlite3.connect(path)) as db:
        made = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: "".join(sql.split()) for name, sql in made}


def texts(path: Path) -> list[str]:
    records = SqliteRecordStore(path, reserve_bytes=0)
    page = records.browse("api_ns", BrowseQuery(Filter(), "oldest", 100))
    records.close()
    return [memory.text for memory in page.memories]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of schema 1 with three memories, two of them at a coordinate."""
    path, present = tmp_path / "records.db", tmp_path / "present.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; {SCHEMA_1.read_text()}")
        db.execute("INSERT INTO meta VALUES ('store_id', 'the old one')")
    records = SqliteRecordStore(present, reserve_bytes=0)
    told = (("one", None, 0.25), ("Never mind two", "1,2", 0.5), ("always three", "-3", 1))
    for text, coordinate, importance in told:
        memory = new(text, coordinate=coordinate, tags=["kept"], importance=importance)
        stored(records, "api_ns", [memory], request())
    records.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ATTACH ? AS present", (str(present),))
        for table in ("memories", "versions", "memory_tags", "events", "requests"):
            columns = ", ".join(f'"{row[1]}"' for row in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO main.{table} SELECT {columns} FROM present.{table}")
        db.commit()
    return path


def test_a_file_of_schema_1_opens_with_its_memories_and_can_hold_tokens(old: Path) -> None:
    records = SqliteRecordStore(old, reserve_bytes=0)
    assert records.store_id == "the old one"
    assert records.tokens().list() == []
    records.tokens().add(token(), b"digest")
    stored(records, "api_ns", [new("four")], request())
    assert records.problems() == []
    records.close()
    assert texts(old) == [*TEXTS, "four"]
    assert version(old) == SCHEMA_VERSION == 3


def test_a_migrated_memory_has_the_features_of_a_new_one(old: Path) -> None:
    records = SqliteRecordStore(old, reserve_bytes=0)
    page = records.browse("api_ns", BrowseQuery(Filter(), "oldest", 100))
    found = records.features("api_ns", [memory.id.int for memory in page.memories])
    assert found == {memory.id.int: features_of(memory) for memory in page.memories}
    assert [found[memory.id.int].importance for memory in page.memories] == [0.25, 0.5, 1.0]
    assert [found[memory.id.int].standing for memory in page.memories] == [False, False, True]
    records.close()


def test_a_migrated_file_has_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    SqliteRecordStore(old, reserve_bytes=0).close()
    SqliteRecordStore(tmp_path / "fresh.db", reserve_bytes=0).close()
    assert schema(old) == schema(tmp_path / "fresh.db")


def test_ranges_of_coordinates_are_found_by_an_index(old: Path) -> None:
    SqliteRecordStore(old, reserve_bytes=0).close()
    statement = (
        "SELECT id FROM memories WHERE namespace = 'api_ns' AND state = 'live' AND coordinate IS NOT NULL "
        "AND CAST(coordinate AS REAL) BETWEEN 0 AND 5"
    )
    with closing(sqlite3.connect(old)) as db:
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}"))
        assert len(db.execute(statement).fetchall()) == 1
    assert "live_by_coordinate" in plan


def test_a_step_that_fails_leaves_the_file_as_it_was(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "package"
    shutil.copytree(Path(database.__file__).parent, folder)
    step = folder / "migrations" / "2.sql"
    step.write_text(step.read_text() + "\nINSERT INTO no_such_table VALUES (1);\n")
    before = schema(old)
    monkeypatch.setattr(database, "__file__", str(folder / "database.py"))
    with pytest.raises(Unavailable, match="no_such_table"):
        SqliteRecordStore(old, reserve_bytes=0)
    monkeypatch.undo()
    assert (schema(old), version(old)) == (before, 1)
    assert texts(old) == TEXTS


@pytest.mark.parametrize("unknown", [0, SCHEMA_VERSION + 1])
def test_a_file_of_an_unknown_schema_is_refused_and_not_touched(old: Path, unknown: int) -> None:
    with closing(sqlite3.connect(old)) as db:
        db.execute(f"PRAGMA user_version = {unknown}")
    before = old.read_bytes()
    with pytest.raises(StoreCorrupt, match="upgrade"):
        SqliteRecordStore(old, reserve_bytes=0)
    assert old.read_bytes() == before


def test_a_store_that_only_named_its_model_has_one_generation_of_the_index(tmp_path: Path) -> None:
    records = SqliteRecordStore(tmp_path / "records.db", reserve_bytes=0)
    with closing(sqlite3.connect(tmp_path / "records.db", isolation_level=None)) as db:
        db.execute("INSERT INTO meta VALUES ('model', 'old:int8')")
    found = records.generations()
    assert found == Generations(Generation(1, "old:int8"))
    planned = found.planning(Generation(0, "new:int8", 384))
    assert records.change_generations(found, planned)
    assert records.generations() == planned
    records.close()
