"""The room that is set aside for a full disk: made once, given back only then, never half made."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from soma_core.adapters.sqlite import spare
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.adapters.sqlite.spare import SPARE_BYTES, give_back, set_aside
from soma_core.domain.errors import Unavailable
from soma_core.domain.query import Selection
from tests.support.clock import FixedClock
from tests.support.requests import new, request, stored

Free = Callable[[int], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "records.db.spare"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Say how much room there is on the disk."""
    return lambda left: monkeypatch.setattr(spare, "free_bytes", lambda path: left)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """What is written beyond fails, as on a disk that fills up meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_room_is_set_aside_once(path: Path, kept: Path) -> None:
    set_aside(path)
    assert kept.stat().st_size == SPARE_BYTES
    assert kept.stat().st_blocks * 512 >= SPARE_BYTES
    before = kept.stat()
    set_aside(path)
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_it_is_given_back_only_on_a_full_disk(path: Path, kept: Path, free: Free) -> None:
    set_aside(path)
    give_back(path)
    assert kept.exists()
    free(SPARE_BYTES)
    give_back(path)
    assert kept.exists()
    free(SPARE_BYTES - 1)
    give_back(path)
    assert not kept.exists()
    give_back(path)


def test_where_there_is_no_room_none_is_set_aside(path: Path, kept: Path, free: Free) -> None:
    free(SPARE_BYTES - 1)
    set_aside(path)
    assert not kept.exists()


@pytest.mark.parametrize("written", [0, SPARE_BYTES // 2])
def test_a_write_that_fails_leaves_nothing(path: Path, kept: Path, written: int) -> None:
    with no_file_longer_than(written):
        set_aside(path)
    assert not kept.exists()
    set_aside(path)
    assert kept.stat().st_size == SPARE_BYTES


def test_what_a_kill_left_half_made_is_made_whole(path: Path, kept: Path) -> None:
    kept.write_bytes(bytes(10))
    set_aside(path)
    assert kept.stat().st_size == SPARE_BYTES


def test_a_record_store_takes_the_room_on_a_full_disk_and_leaves_it_again_when_it_closes(
    path: Path, kept: Path, free: Free
) -> None:
    SqliteRecordStore(path, reserve_bytes=0, clock=FixedClock()).close()
    assert kept.exists()
    free(0)
    records = SqliteRecordStore(path, reserve_bytes=0, clock=FixedClock())
    assert not kept.exists()
    free(SPARE_BYTES)
    records.close()
    assert kept.exists()


def test_a_rewrite_of_the_file_for_which_the_room_was_not_enough_leaves_no_log(path: Path) -> None:
    records = SqliteRecordStore(path, reserve_bytes=0)
    stored(records, "a", [new(uuid4().hex * 1_000) for _ in range(30)], request())
    assert records._database.rewrite(up_to_bytes=None)
    gone = stored(records, "a", [new("gone")], request())[0].id
    records.forget("a", Selection((gone,)), request(), purge=True, reason=None)
    log = path.with_name(path.name + "-wal")
    size = path.stat().st_size
    assert 0 < log.stat().st_size < size
    with no_file_longer_than(size + 4096), pytest.raises(Unavailable):
        records.erase(at_once=True)
    assert log.stat().st_size == 0
    assert records.erase(at_once=True)
    records.close()
