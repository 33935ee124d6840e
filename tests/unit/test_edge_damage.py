"""Index folders that cannot be used as they are."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.qdrant.shards import MAX_ATTEMPTS, engine_failures
from soma_core.domain.errors import InvalidInput, Unavailable
from soma_core.ports.index import Checkpoint, IndexQuery
from tests.contract.index import DIMENSIONS, NAMESPACE, dense, held, lexical, memory, point, unit

OTHER = "other"
Open = Callable[..., EdgeIndex]
Damage = Callable[[Path], object]


@pytest.fixture
def open_index(tmp_path: Path) -> Iterator[Open]:
    opened: list[EdgeIndex] = []

    def open_index(language: str = "english", max_open: int = 16) -> EdgeIndex:
        index = EdgeIndex(
            tmp_path, store_id="s", model_id="m", dimensions=DIMENSIONS, language=language, max_open=max_open
        )
        opened.append(index)
        return index

    yield open_index
    for index in opened:
        index.close()


@pytest.fixture
def folder(tmp_path: Path, open_index: Open) -> Path:
    """The folder of a namespace with flushed points, 1 to 120, and ten more; beside it another namespace."""
    index = open_index()
    index.put(NAMESPACE, [point(n, f"kafka unique{n}") for n in range(1, 121)])
    index.flush(NAMESPACE, Checkpoint(120, 120))
    index.put(NAMESPACE, [point(n, f"kafka unique{n}") for n in range(121, 131)])
    (found,) = tmp_path.iterdir()
    index.put(OTHER, [point(1, "tea")])
    index.flush(OTHER, Checkpoint(1, 1))
    index.close()
    return found


def check_begun_anew(index: EdgeIndex) -> None:
    """It is empty and says so, the other namespace is whole, and it can be filled again."""
    assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
    assert held(index) == []
    assert lexical(index, "kafka") == dense(index, unit(1)) == []
    (sentence,) = index.rebuilt()
    assert NAMESPACE in sentence
    assert sentence.endswith("it starts empty and is rebuilt from the records")
    assert lexical(index, "tea", namespace=OTHER) == [1]
    assert index.checkpoint(OTHER) == Checkpoint(1, 1)
    index.put(NAMESPACE, [point(7, "kafka")])
    index.flush(NAMESPACE, Checkpoint(7, 7))


def file_of(folder: Path, name: str) -> Path:
    return next(path for path in sorted(folder.rglob("*")) if str(path).endswith(name))


def without(name: str) -> Damage:
    return lambda folder: file_of(folder, name).unlink()


def cut(name: str) -> Damage:
    def cut_short(folder: Path) -> None:
        path = file_of(folder, name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut_short


def garbage(name: str) -> Damage:
    def overwrite(folder: Path) -> None:
        with file_of(folder, name).open("r+b") as file:
            file.write(random.Random(1).randbytes(4_096))

    return overwrite


def rewritten(**changes: object) -> Damage:
    def rewrite(folder: Path) -> None:
        stamp = folder / "checkpoint.json"
        stamp.write_text(json.dumps({**json.loads(stamp.read_text()), **changes}))

    return rewrite


def emptied(name: str) -> Damage:
    def empty(folder: Path) -> None:
        shutil.rmtree(folder / name)
        (folder / name).mkdir()

    return empty


DAMAGES: dict[str, Damage] = {
    "no checkpoint": without("checkpoint.json"),
    "half a checkpoint": cut("checkpoint.json"),
    "a checkpoint of garbage": garbage("checkpoint.json"),
    "a checkpoint that is no object": lambda folder: (folder / "checkpoint.json").write_text("[1]"),
    "a checkpoint without numbers": rewritten(words=None),
    "a checkpoint without files": rewritten(files=3),
    "a checkpoint with files of garbage": rewritten(files={"a": "b", "c": []}),
    "another format": rewritten(format=0),
    "another namespace": rewritten(namespace=OTHER),
    "no shard": lambda folder: shutil.rmtree(folder / "shard"),
    "an empty shard": emptied("shard"),
    "no segments": lambda folder: shutil.rmtree(folder / "shard" / "segments"),
    "a configuration of garbage": garbage("edge_config.json"),
    "no ids": without("mutable_id_tracker.mappings"),
    "half the ids": cut("mutable_id_tracker.mappings"),
    "other ids": garbage("mutable_id_tracker.mappings"),
    "no versions": without("mutable_id_tracker.versions"),
    "no version of the format": without("version.info"),
    "no vectors": without("vectors/chunk_0.mmap"),
    "half the words": cut("vector_storage-words/store/tracker.dat"),
    "words of garbage": garbage("vector_storage-words/store/page_0.dat"),
    "half the payloads": cut("payload_storage/tracker.dat"),
    "a field index that panics": garbage("scope-map/tracker.dat"),
    "no log": lambda folder: shutil.rmtree(folder / "shard" / "wal"),
    "a log that ends early": without("wal/open-1"),
    "a log of garbage": garbage("wal/open-1"),
    "a shard that kills": lambda folder: (folder / "opening").write_bytes(b"." * MAX_ATTEMPTS),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_starts_empty_and_says_so(
    open_index: Open, folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGES[damage](folder)
    index = open_index()
    check_begun_anew(index)
    assert [record.getMessage() for record in caplog.records if index.rebuilt()[0] in record.getMessage()]
    index.close()
    again = open_index()
    assert again.checkpoint(NAMESPACE) == Checkpoint(7, 7)
    assert lexical(again, "kafka") == [7]
    assert list(again.rebuilt()) == []


@pytest.mark.parametrize("first", ["search", "put", "flush", "points", "remove"])
def test_any_first_call_finds_the_damage(open_index: Open, folder: Path, first: str) -> None:
    (folder / "checkpoint.json").unlink()
    index = open_index()
    calls: dict[str, Callable[[], object]] = {
        "search": lambda: index.search(NAMESPACE, IndexQuery("kafka", None, 10)),
        "put": lambda: index.put(NAMESPACE, []),
        "flush": lambda: index.flush(NAMESPACE, Checkpoint(130, 130)),
        "points": lambda: held(index),
        "remove": lambda: index.remove(NAMESPACE, memory(1), 2),
    }
    calls[first]()
    check_begun_anew(index)


def test_an_index_of_another_language_starts_empty(open_index: Open, folder: Path) -> None:
    index = open_index(language="german")
    assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
    assert "language" in index.rebuilt()[0]


def test_an_unknown_language_is_refused(open_index: Open) -> None:
    with pytest.raises(InvalidInput, match="language"):
        open_index(language="klingon")


def test_a_deleted_folder_is_a_new_namespace(open_index: Open, folder: Path) -> None:
    shutil.rmtree(folder.parent)
    index = open_index()
    assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
    assert list(index.rebuilt()) == []
    index.put(NAMESPACE, [point(1, "kafka")])
    assert lexical(index, "kafka") == [1]


def test_interrupted_openings_are_forgiven_until_they_are_too_many(open_index: Open, folder: Path) -> None:
    (folder / "opening").write_bytes(b"." * (MAX_ATTEMPTS - 1))
    assert open_index().checkpoint(NAMESPACE) == Checkpoint(120, 120)
    assert not (folder / "opening").exists()


def test_a_shard_that_someone_else_has_open_is_left_alone(open_index: Open, folder: Path) -> None:
    owner = open_index()
    assert owner.checkpoint(NAMESPACE) == Checkpoint(120, 120)
    second = open_index()
    with pytest.raises(Unavailable, match="another process"):
        second.search(NAMESPACE, IndexQuery("kafka", None, 10))
    assert list(second.rebuilt()) == []
    owner.close()
    assert len(held(second)) == 130


def test_errors_of_the_system_are_no_damage(open_index: Open, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise Exception("Service runtime error: failed to load segment: Too many open files (os error 24)")

    index = open_index()
    with monkeypatch.context() as patch:
        patch.setattr("soma_core.adapters.qdrant.shards.edge.EdgeShard.load", refused, raising=False)
        with pytest.raises(Unavailable, match="Too many open files"):
            index.checkpoint(NAMESPACE)
    assert index.checkpoint(NAMESPACE) == Checkpoint(120, 120)
    assert list(index.rebuilt()) == []


@pytest.mark.parametrize("lost", ["damaged", "deleted"])
def test_an_index_lost_in_use_keeps_no_checkpoint_before_its_owner_has_asked(
    open_index: Open, folder: Path, lost: str
) -> None:
    index = open_index(max_open=1)
    assert index.checkpoint(NAMESPACE) == Checkpoint(120, 120)
    index.checkpoint(OTHER)
    if lost == "damaged":
        (folder / "checkpoint.json").write_text("{")
    else:
        shutil.rmtree(folder)
    assert lexical(index, "kafka") == []
    assert len(index.rebuilt()) == 1
    index.put(NAMESPACE, [point(131, "kafka")])
    index.flush(NAMESPACE, Checkpoint(131, 131))
    assert json.loads((folder / "checkpoint.json").read_text())["words"] == 0
    assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
    index.flush(NAMESPACE, Checkpoint(131, 131))
    assert index.checkpoint(NAMESPACE) == Checkpoint(131, 131)


def test_damage_that_shows_only_in_use_names_the_way_out(open_index: Open, folder: Path) -> None:
    garbage("payload_storage/page_0.dat")(folder)
    index = open_index()
    with pytest.raises(Unavailable, match="soma reindex") as raised:
        index.search(NAMESPACE, IndexQuery("kafka", unit(1), 200))
    assert raised.value.__cause__
    index.reset(NAMESPACE)
    index.put(NAMESPACE, [point(1, "kafka")])
    assert lexical(index, "kafka") == [1]


def test_a_panic_of_the_engine_is_a_failure_like_any_other() -> None:
    class PanicException(BaseException):
        pass

    with (
        pytest.raises(Unavailable, match=r"could not be searched.*soma reindex"),
        engine_failures("it could not be searched"),
    ):
        raise PanicException("assertion failed")


def test_an_interrupt_is_no_failure_of_the_engine() -> None:
    with pytest.raises(KeyboardInterrupt), engine_failures("it could not be searched"):
        raise KeyboardInterrupt


def test_a_vector_of_the_wrong_length_is_refused_and_harms_nothing(open_index: Open, folder: Path) -> None:
    index = open_index()
    with pytest.raises(Unavailable):
        index.put(NAMESPACE, [point(500, "kafka", vector=[1.0, 2.0])])
    index.close()
    assert len(held(open_index())) == 130


def test_a_closed_index_refuses_calls_and_can_be_closed_again(open_index: Open, folder: Path) -> None:
    index = open_index()
    index.checkpoint(NAMESPACE)
    index.close()
    index.close()
    with pytest.raises(Unavailable, match="closed"):
        index.search(NAMESPACE, IndexQuery("kafka", None, 10))
    with pytest.raises(Unavailable, match="closed"):
        index.put("new", [point(1)])
    assert len(open_index().rebuilt()) == 0


def test_no_text_is_in_any_file(tmp_path: Path, open_index: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    index = open_index()
    for n in range(1, 100):
        index.put(NAMESPACE, [point(n, "xylophone serenade")])
    index.flush(NAMESPACE, Checkpoint(1, 1))
    index.close()
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"xylophon" not in content
    assert b"serenad" not in content


def test_the_engines_own_log_stays_small(tmp_path: Path, open_index: Open) -> None:
    index = open_index()
    for n in range(12):
        index.put(NAMESPACE, [point(m, "kafka " * 50) for m in range(1, 1_001)])
        index.flush(NAMESPACE, Checkpoint(n, n))
    logs = list(next(tmp_path.iterdir()).glob("shard/wal/*"))
    assert logs
    assert sum(path.stat().st_size for path in logs) <= 10 * 1024 * 1024
