"""The index is built anew with another model: killed at every stage, and beside a server that goes on answering."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import ModelMismatch
from soma_core.domain.memory import NewMemory
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma
from tests.chaos.conftest import StartServer
from tests.chaos.processes import SCOPE, Process, inspected, run_soma, settled, texts, wait_until
from tests.chaos.reindexer import FRESH
from tests.support.graphs import lookup_model

TEXTS = [f"animal{n} lives in the green valley" for n in range(12)]
WORDS = sorted({"[UNK]"} | {word for text in [*TEXTS, FRESH] for word in text.split()})


def model(folder: Path, name: str, width: int) -> Path:
    chance = random.Random(name)
    vectors = {word: [chance.uniform(-1, 1) for _ in range(width)] for word in WORDS}
    return lookup_model(folder / name, vectors, name=name)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models with vectors of different lengths."""
    folder = tmp_path_factory.mktemp("models")
    return {"old": model(folder, "old", 16), "new": model(folder, "new", 24)}


def opened(home: Path, model: Path) -> Soma:
    return create_memory_system(home=home, disk_reserve="0", embedding_model=str(model))


@pytest.fixture(scope="module")
def whole(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose memories are all in an index of the old model."""
    home = tmp_path_factory.mktemp("whole") / "home"
    with closing(opened(home, models["old"])) as soma:
        soma.store_many(SCOPE, [NewMemory(text) for text in TEXTS])
        soma.index(SCOPE)
    return home


@pytest.fixture
def filled(whole: Path, home: Path) -> Path:
    shutil.copytree(whole, home)
    return home


@pytest.fixture
def killed(filled: Path, models: dict[str, Path]) -> Callable[[str], Process]:
    """A rebuild with the new model that was killed at a stage."""

    def killed(stage: str) -> Process:
        process = Process(filled, ["-m", "tests.chaos.reindexer", stage], {"SOMA_EMBEDDING_MODEL": str(models["new"])})
        assert process.join() == -9, process.stderr
        return process

    return killed


def check_serves(home: Path, model: Path, wanted: list[str]) -> None:
    """The index of this model has everything, at once."""
    with closing(opened(home, model)) as soma:
        soma.warm(SCOPE)
        for text in wanted:
            answer = soma.recall(SCOPE, RecallQuery(text))
            assert answer.hits[0].memory.text == text
            assert answer.degraded == []
        found = inspected(soma)
        assert found.clean, found.detail
        soma.housekeep()


def check_refused(home: Path, model: Path) -> None:
    with pytest.raises(ModelMismatch, match="soma reindex"):
        opened(home, model)


def reindexed(home: Path, model: Path) -> None:
    done = run_soma(home, "reindex", SOMA_EMBEDDING_MODEL=str(model))
    assert done.returncode == 0, done.stderr


def test_killed_before_the_switch_the_old_index_serves_and_the_next_rebuild_does(
    filled: Path, models: dict[str, Path], killed: Callable[[str], Process]
) -> None:
    killed("before the switch")
    check_refused(filled, models["new"])
    check_serves(filled, models["old"], TEXTS)
    reindexed(filled, models["new"])
    check_refused(filled, models["old"])
    check_serves(filled, models["new"], TEXTS)
    assert [path.name for path in (filled / "index").iterdir()] == ["g2"]


@pytest.mark.parametrize("stage", ["after the switch", "while the old one is deleted"])
def test_killed_after_the_switch_the_new_index_serves_and_the_old_one_goes(
    filled: Path, models: dict[str, Path], killed: Callable[[str], Process], stage: str
) -> None:
    killed(stage)
    check_refused(filled, models["old"])
    check_serves(filled, models["new"], TEXTS)
    assert [path.name for path in (filled / "index").iterdir()] == ["g2"]


def test_killed_in_mid_build_it_goes_on_and_what_was_forgotten_meanwhile_is_not_in_the_new_index(
    filled: Path, models: dict[str, Path], killed: Callable[[str], Process]
) -> None:
    gone = killed("in mid-build").lines[0]
    check_refused(filled, models["new"])
    with closing(opened(filled, models["old"])) as soma:
        soma.index(SCOPE)
    check_serves(filled, models["old"], [*TEXTS[1:], FRESH])
    reindexed(filled, models["new"])
    check_serves(filled, models["new"], [*TEXTS[1:], FRESH])
    with closing(opened(filled, models["new"])) as soma:
        held = {str(point.memory_id) for point in soma.serving.built.index.points(SCOPE.namespace)}
        assert len(held) == len(TEXTS)
        assert gone not in held


def test_a_server_answers_completely_while_its_index_is_built_with_another_model(
    filled: Path, models: dict[str, Path], start: StartServer
) -> None:
    server = start(SOMA_EMBEDDING_MODEL=str(models["old"])).ready()
    wait_until(lambda: server.call("status")["model"]["ready"], "the model")
    answers, done = [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(server.call("recall", query=TEXTS[3]))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        found = run_soma(filled, "reindex", SOMA_EMBEDDING_MODEL=str(models["new"]))
    finally:
        done.set()
        asking.join()
    assert found.returncode == 0, found.stderr
    assert "SOMA_EMBEDDING_MODEL" in found.stdout
    assert len(answers) > 3
    assert all(texts(answer)[0] == TEXTS[3] and not answer["degraded"] for answer in answers)
    assert "two models are loaded" in server.stderr
    assert server.call("status")["model"]["id"].startswith("new:")
    with closing(SharedSoma(load_settings({}, home=filled), stay=False, accept_model=True)) as shared:
        assert shared.owner["model"].startswith("new:")
    server.call("store", text=FRESH)
    wait_until(lambda: settled(server), "the vectors")
    assert texts(server.call("recall", query=FRESH))[0] == FRESH
    server.leave()
    check_refused(filled, models["old"])
    check_serves(filled, models["new"], [*TEXTS, FRESH])
