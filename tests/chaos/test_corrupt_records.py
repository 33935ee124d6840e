"""A damaged file of records is refused, with how to restore it, and never touched."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from soma_core.domain.memory import NewMemory
from soma_core.engine import Soma
from tests.chaos.conftest import StartServer
from tests.chaos.processes import SCOPE, Gone, run_soma

Damage = Callable[[Path], object]


@pytest.fixture
def records(home: Path, engine: Callable[[], Soma]) -> Path:
    soma = engine()
    soma.store_many(SCOPE, [NewMemory(f"memory {n} with some words to fill the pages") for n in range(300)])
    soma.close()
    return home / "records.db"


def overwrite(path: Path, at: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.Random(1).randbytes(size))


def middle(path: Path) -> None:
    overwrite(path, path.stat().st_size // 2 // 4096 * 4096, 16_384)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)


def another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()


def only_a_log(path: Path) -> None:
    path.with_name("records.db-wal").write_bytes(path.read_bytes()[:8192])
    path.unlink()


DAMAGES: dict[str, Damage] = {
    "its header overwritten": lambda path: overwrite(path, 0, 100),
    "its first page overwritten": lambda path: overwrite(path, 100, 3_996),
    "its middle overwritten": middle,
    "cut in half": cut,
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("Dear diary, ...\n" * 1_000),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another program's": another_program,
    "gone, its log left": only_a_log,
}


def bytes_in(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.glob("records.db*")}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_records_are_refused_with_how_to_restore_them_and_left_as_they_are(
    home: Path, records: Path, start: StartServer, damage: Damage
) -> None:
    damage(records)
    before = bytes_in(home)
    done = run_soma(home, "reindex")
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "restore" in done.stderr
    assert "Traceback" not in done.stderr
    server = start()
    with pytest.raises(Gone):
        server.call("status")
    assert server.join() == 1
    assert "restore" in server.stderr
    assert bytes_in(home) == before


@pytest.mark.parametrize("damage", [middle, only_a_log], ids=["its middle overwritten", "gone, its log left"])
def test_doctor_says_that_the_records_are_damaged_and_what_to_do(home: Path, records: Path, damage: Damage) -> None:
    damage(records)
    before = bytes_in(home)
    done = run_soma(home, "doctor")
    assert done.returncode == 1, done.stdout
    assert "restore" in done.stdout
    assert bytes_in(home) == before


def test_a_garbled_log_beside_good_records_loses_nothing_that_was_in_them(home: Path, records: Path) -> None:
    (home / "records.db-wal").write_bytes(random.Random(2).randbytes(20_000))
    done = run_soma(home, "stats")
    assert done.returncode in (0, 1)
    if done.returncode == 0:
        assert "300 memories" in done.stdout
    else:
        assert "restore" in done.stderr


def test_damage_in_a_large_file_is_reported_and_nothing_more_is_written_over_it(
    home: Path, engine: Callable[[], Soma]
) -> None:
    soma = engine()
    for batch in range(12):
        soma.store_many(SCOPE, [NewMemory(f"memory {batch} {n} " + "long " * 2_000) for n in range(100)])
    soma.close()
    path = home / "records.db"
    assert path.stat().st_size > 9 << 20
    overwrite(path, path.stat().st_size // 2 // 4096 * 4096, 1 << 20)
    done = run_soma(home, "doctor")
    assert done.returncode == 1
    assert "bad   records" in done.stdout, done.stdout
    assert "Traceback" not in done.stderr
    for command in (["browse"], ["recall", "long memory"], ["stats"]):
        done = run_soma(home, *command)
        assert "Traceback" not in done.stderr, (command, done.stderr)
        assert done.returncode == 0 or "restore" in done.stderr, (command, done.stderr)


def test_records_of_a_later_version_are_refused_by_name(home: Path, records: Path) -> None:
    db = sqlite3.connect(records)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = bytes_in(home)
    done = run_soma(home, "stats")
    assert done.returncode == 1
    assert "upgrade" in done.stderr
    assert bytes_in(home) == before


def test_a_copy_of_the_file_put_back_is_a_restore(home: Path, records: Path, tmp_path: Path) -> None:
    shutil.copy(records, tmp_path / "backup.db")
    overwrite(records, 0, 100)
    assert run_soma(home, "stats").returncode == 1
    shutil.copy(tmp_path / "backup.db", records)
    done = run_soma(home, "stats")
    assert done.returncode == 0, done.stderr
    assert "300 memories" in done.stdout
