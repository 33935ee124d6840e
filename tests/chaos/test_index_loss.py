"""Power cuts before a flush, and index folders that are deleted or damaged."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from soma_core.domain.memory import NewMemory
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from soma_core.settings import Settings, load_settings
from soma_mcp.sharing import SharedSoma
from tests.chaos.conftest import StartServer
from tests.chaos.processes import (
    SCOPE,
    Server,
    checkpoint_of,
    flushed,
    inspected,
    run_soma,
    settled,
    texts,
    wait_until,
)

MEMORIES = 12
FIRST = [f"animal{n} lives in the green valley" for n in range(MEMORIES)]
LATER = [f"flower{n} grows by the blue river" for n in range(MEMORIES)]


def check_recalled(server: Server, wanted: list[str]) -> None:
    for text in wanted:
        assert text in texts(server.call("recall", query=text.split()[0])), text


def check_clean(settings: Settings) -> None:
    memory = SharedSoma(settings, stay=False)
    try:
        drift = memory.inspect(SCOPE)
        assert drift.is_clean, drift
        assert not drift.pending
    finally:
        memory.close()


def settle(server: Server, home: Path) -> None:
    """Wait until everything is embedded and flushed."""
    wait_until(lambda: settled(server), "all to be indexed")
    wait_until(lambda: flushed(home), "the index to be flushed")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose memories are all in its index."""
    home = tmp_path_factory.mktemp("whole") / "home"
    server = Server(home)
    try:
        for text in FIRST:
            server.call("store", text=text)
        settle(server, home)
        server.leave()
    finally:
        server.kill()
    return home


def test_a_power_cut_takes_nothing_that_was_stored_since_the_last_flush(
    home: Path, whole: Path, start: StartServer, settings: Settings, tmp_path: Path
) -> None:
    shutil.copytree(whole, home)
    before = tmp_path / "index at its last flush"
    shutil.copytree(home / "index", before)
    server = start().ready()
    for text in LATER:
        server.call("store", text=text)
    gone = server.call("recall", query="animal0")["hits"][0]["id"]
    server.call("forget", ids=[gone])
    server.kill()
    shutil.rmtree(home / "index")
    shutil.copytree(before, home / "index")

    server = start()
    check_recalled(server, FIRST[1:] + LATER)
    assert FIRST[0] not in texts(server.call("recall", query="animal0"))
    settle(server, home)
    check_recalled(server, FIRST[1:] + LATER)
    assert FIRST[0] not in texts(server.call("recall", query="animal0"))
    check_clean(settings)
    assert server.call("status")["health"] == []


def test_a_power_cut_that_took_some_files_and_left_others_loses_nothing(
    whole: Path, tmp_path: Path, settings: Settings, engine: Callable[[], Soma]
) -> None:
    """Each file of the index is as at the last flush or as at the end, by chance; the checkpoint is the old one."""
    home = settings.home
    shutil.copytree(whole, home)
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(home / "index", old)
    soma = engine()
    receipts = soma.store_many(SCOPE, [NewMemory(text) for text in LATER])
    soma.forget(SCOPE, [str(receipt.id) for receipt in receipts[:3]])
    while soma.indexing.words_step(SCOPE.namespace):
        pass
    while soma.indexing.vectors_step(SCOPE.namespace, 64):
        pass
    shutil.copytree(home / "index", new)
    soma.close()
    chance = random.Random(5)
    for _ in range(5):
        engine().close()
        shutil.rmtree(home / "index")
        shutil.copytree(old, home / "index")
        for file in new.rglob("*"):
            if file.is_file() and file.name != "checkpoint.json" and chance.random() < 0.5:
                target = home / "index" / file.relative_to(new)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        soma = engine()
        for text in FIRST + LATER[3:]:
            assert text in [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery(text.split()[0])).hits], text
        found = inspected(soma)
        assert found.clean, found.detail
        for text in FIRST + LATER[3:]:
            assert text in [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery(text.split()[0])).hits], text
        for text in LATER[:3]:
            assert text not in [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery(text.split()[0])).hits]


def segment_files(home: Path) -> list[Path]:
    return sorted(path for path in (home / "index").glob("*/shard/segments/**/*") if path.is_file())


def deleted(home: Path) -> None:
    shutil.rmtree(home / "index")


def garbled(home: Path) -> None:
    chance = random.Random(3)
    for file in segment_files(home):
        with file.open("r+b") as open_file:
            size = file.stat().st_size
            for at in range(0, size, 1 << 20):
                open_file.seek(at)
                open_file.write(chance.randbytes(min(1 << 20, size - at)))


def truncated(home: Path) -> None:
    for file in segment_files(home):
        with file.open("r+b") as open_file:
            open_file.truncate(file.stat().st_size // 2)


def emptied(home: Path) -> None:
    for file in segment_files(home):
        file.write_bytes(b"")


def without_segments(home: Path) -> None:
    for folder in (home / "index").glob("*/shard/segments/*"):
        shutil.rmtree(folder)


def without_log(home: Path) -> None:
    for folder in (home / "index").glob("*/shard/wal"):
        shutil.rmtree(folder)


def broken_checkpoint(home: Path) -> None:
    for file in (home / "index").glob("*/checkpoint.json"):
        file.write_text('{"words": 3')


def strange_checkpoint(home: Path) -> None:
    for file in (home / "index").glob("*/checkpoint.json"):
        file.write_text('["no", "object"]')


def a_file_in_its_place(home: Path) -> None:
    shutil.rmtree(home / "index")
    (home / "index").write_text("no folder")


DAMAGES = [
    deleted, garbled, truncated, emptied, without_segments, without_log, broken_checkpoint, strange_checkpoint,
    a_file_in_its_place,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_before_a_damaged_index_is_rebuilt_recall_answers_by_words_and_says_that_vectors_are_missing(
    whole: Path, settings: Settings, engine: Callable[[], Soma], damage: Callable[[Path], None]
) -> None:
    shutil.copytree(whole, settings.home)
    damage(settings.home)
    soma = engine()
    soma.warm(SCOPE)
    found = soma.recall(SCOPE, RecallQuery("animal7 valley"))
    assert FIRST[7] in [hit.memory.text for hit in found.hits]
    assert any(reason.startswith("vectors:") for reason in found.degraded), found.degraded


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_an_index_that_was_damaged_while_nothing_ran_is_rebuilt_and_recall_answers_meanwhile(
    home: Path, whole: Path, start: StartServer, settings: Settings, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(whole, home)
    damage(home)
    server = start()
    first = server.call("recall", query="animal7 valley")
    assert FIRST[7] in texts(first)  # what is missing before the rebuild: the test above
    assert first["degraded"] or not any(server.call("status")["pending"].values())
    health = " ".join(server.call("status")["health"])
    assert "rebuilt" in health, health
    wait_until(lambda: "rebuilt" in server.stderr, "a word on standard error")
    check_recalled(server, FIRST)
    settle(server, home)
    check_recalled(server, FIRST)
    check_clean(settings)
    server.call("store", text="stored after the damage")
    check_recalled(server, ["stored after the damage"])
    assert "Traceback" not in server.stderr, server.stderr
    server.leave()

    again = start()
    check_recalled(again, FIRST)
    assert again.call("status")["health"] == []


def test_an_index_with_a_few_wrong_bytes_never_stops_the_server(
    whole: Path, tmp_path: Path, start: StartServer
) -> None:
    """Damage that nothing can see may spoil a ranking, but recall and store go on, and reindex mends it."""
    for seed in range(4):
        home = tmp_path / f"home{seed}"
        shutil.copytree(whole, home)
        chance = random.Random(seed)
        for file in segment_files(home):
            size = file.stat().st_size
            if size and chance.random() < 0.5:
                with file.open("r+b") as open_file:
                    for _ in range(3):
                        open_file.seek(chance.randrange(size))
                        open_file.write(chance.randbytes(1))
        server = start(home)
        try:
            server.call("recall", query="animal7 valley")
            server.call("store", text="stored in spite of the damage")
            server.call("recall", query="stored damage")
        finally:
            alive = server.alive
            server.leave() if alive else server.kill()
        assert alive, (seed, server.stderr)
        memory = SharedSoma(load_settings({}, home=home, disk_reserve="0"), stay=False)
        memory.reindex(SCOPE)
        assert memory.inspect(SCOPE).is_clean
        memory.close()


def test_a_server_whose_index_is_deleted_while_it_runs_goes_on_and_the_next_start_rebuilds_it(
    home: Path, whole: Path, start: StartServer, settings: Settings
) -> None:
    shutil.copytree(whole, home)
    server = start()
    check_recalled(server, FIRST)
    settle(server, home)
    shutil.rmtree(home / "index")
    for text in LATER:
        server.call("store", text=text)
    check_recalled(server, FIRST[:5] + LATER)
    wait_until(lambda: server.call("status")["pending"]["words"] == 0, "the words")
    check_recalled(server, FIRST[:5] + LATER)
    assert server.alive
    server.leave()
    again = start()
    check_recalled(again, FIRST + LATER)
    settle(again, home)
    check_recalled(again, FIRST + LATER)
    check_clean(settings)


def test_reindex_mends_an_index_that_is_deleted_under_a_running_server(
    home: Path, whole: Path, start: StartServer, settings: Settings
) -> None:
    shutil.copytree(whole, home)
    server = start()
    check_recalled(server, FIRST)
    shutil.rmtree(home / "index")
    done = run_soma(home, "reindex")
    assert done.returncode == 0, done.stderr
    check_recalled(server, FIRST)
    settle(server, home)
    check_clean(settings)
    assert checkpoint_of(home)


def test_a_process_that_dies_on_opening_its_index_is_given_a_new_one_after_a_few_starts(
    home: Path, whole: Path, start: StartServer
) -> None:
    shutil.copytree(whole, home)
    (folder,) = (home / "index").iterdir()
    (folder / "opening").write_bytes(b"...")
    server = start()
    check_recalled(server, FIRST)
    wait_until(lambda: "killed the process" in server.stderr, "a word on standard error")


def test_recall_says_so_while_the_index_is_rebuilt_although_the_model_is_loaded(
    engine: Callable[[], Soma], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    soma = engine()
    soma.store_many(SCOPE, [NewMemory(text) for text in FIRST])
    soma.index(SCOPE)
    soma.close()
    shutil.rmtree(settings.home / "index")
    soma = engine()
    vector = [1.0] + [0.0] * (soma.embedder.dimensions - 1)
    monkeypatch.setattr(type(soma.embedder), "ready", True)
    monkeypatch.setattr(type(soma.embedder), "embed_query", lambda self, text: vector)
    found = soma.recall(SCOPE, RecallQuery("animal3"))
    assert [hit.memory.text for hit in found.hits] == [FIRST[3]]
    assert found.degraded, "half of the answer is missing, and it does not say so"
    soma.index(SCOPE)
    assert soma.recall(SCOPE, RecallQuery("animal3")).degraded == []
