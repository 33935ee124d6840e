"""Two processes over one store and one index: one writes the index, the other learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.ports.index import Checkpoint
from soma_core.services import indexing as indexings
from soma_core.services.indexing import Indexing
from soma_core.services.learned import Learned
from soma_core.services.writing import IndexWriting
from tests.support.embedder import HashEmbedder
from tests.support.index import MemoryIndex
from tests.support.requests import new, request, stored

NS = "api_ns"


class GivenTurn:
    """A `Turn` that a test gives and takes."""

    def __init__(self, mine: bool) -> None:
        self.mine = mine

    def is_mine(self) -> bool:
        return self.mine

    def holder(self) -> str | None:
        return None

    def let_go(self) -> None:
        self.mine = False

    def give_up(self) -> None:
        self.mine = False


class House:
    """Two of them."""

    def __init__(self, folder: Path) -> None:
        self.records = SqliteRecordStore(folder / "records.db", reserve_bytes=0)
        self.index = MemoryIndex()
        self.turns = [GivenTurn(True), GivenTurn(False)]
        self.one, self.another = (self.indexing(turn) for turn in self.turns)

    def indexing(self, turn: GivenTurn) -> Indexing:
        writing = IndexWriting(self.records, self.index, HashEmbedder(), learned=Learned(None))
        return Indexing(self.records, self.records.log(), self.index, writing, turn=turn, is_shared=True)

    def store(self, text: str) -> int:
        """The id of what is stored, as the index has it."""
        return stored(self.records, NS, [new(text)], request())[0].id.int

    @property
    def held(self) -> set[int]:
        return {key[0].int for key in self.index.kept.get(NS, {})}

    def change_turns(self) -> None:
        for turn in self.turns:
            turn.mine = not turn.mine


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(indexings, "FOLLOW_SECONDS", 0.0)
    found = House(tmp_path)
    yield found
    found.records.close()


def everything(indexing: Indexing) -> None:
    indexing.look_around()
    while indexing.words_step(NS) + indexing.vectors_step(NS, 100):
        indexing.flush(NS, idle=False)


def pending(indexing: Indexing) -> set[int]:
    return {key.int for key in indexing.pending(NS).ids}


def test_who_has_no_turn_writes_nothing_and_sees_what_waits(house: House) -> None:
    key = house.store("owl")
    assert house.another.words_now(NS) is False
    assert house.another.words_step(NS) == house.another.vectors_step(NS, 10) == 0
    house.another.flush(NS, idle=True)
    assert house.held == set()
    assert house.index.flushes == []
    assert pending(house.another) == {key}
    assert house.another.level(NS) == "none"


def test_what_one_has_brought_in_the_other_no_longer_counts_as_waiting(house: House) -> None:
    first = house.store("owl")
    assert pending(house.another) == {first}
    everything(house.one)
    assert pending(house.another) == set()
    assert house.another.level(NS) == "full"
    second = house.store("fox")
    assert pending(house.another) == {second}
    epoch = house.another.epoch(NS)
    everything(house.one)
    assert house.another.backlog(NS) == (0, 0)
    assert house.another.epoch(NS) == epoch


def test_what_another_process_stored_is_noticed(house: House) -> None:
    everything(house.one)
    assert house.one.settle(NS)
    assert house.one.behind() == []
    key = house.store("owl")
    house.one.look_around()
    assert house.one.behind() == [NS]
    everything(house.one)
    assert house.held == {key}


def test_who_gets_the_turn_goes_on_where_the_index_is_and_nothing_is_left_out(house: House) -> None:
    flushed = house.store("owl")
    everything(house.one)
    pending(house.another)
    unflushed = house.store("fox")
    house.one.words_step(NS)
    house.change_turns()
    third = house.store("elk")
    everything(house.another)
    assert house.held == {flushed, unflushed, third}
    assert house.another.backlog(NS) == (0, 0)


def test_who_lost_the_turn_moves_no_position_back_and_learns_from_then_on(house: House) -> None:
    house.store("owl")
    house.one.words_step(NS)
    house.change_turns()
    house.store("fox")
    everything(house.another)
    stands = house.index.checkpoints[NS]
    house.one.flush(NS, idle=True)
    assert house.index.checkpoints[NS] == stands != Checkpoint()
    assert house.one.backlog(NS) == (0, 0)
    last = house.store("elk")
    assert pending(house.one) == {last}
    house.change_turns()
    everything(house.one)
    assert last in house.held


def test_an_index_that_was_begun_anew_is_all_waiting_again_for_the_other(house: House) -> None:
    key = house.store("owl")
    everything(house.one)
    assert pending(house.another) == set()
    house.one.begin_anew(NS)
    assert pending(house.another) == {key}


def test_a_build_is_written_by_who_makes_it_and_then_by_who_has_the_turn(house: House) -> None:
    house.store("owl")
    writing = IndexWriting(house.records, MemoryIndex(), HashEmbedder(), learned=Learned(None))
    events = house.records.log()
    build = Indexing(house.records, events, MemoryIndex(), writing, turn=GivenTurn(False), is_shared=True, is_new=True)
    assert build.leads()
    build.begin_serving()
    assert not build.leads()


def test_who_serves_another_generation_lets_go_of_the_turn_and_writes_its_own(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.one.overtaken()
    assert not house.turns[0].mine
    assert house.one.leads()
    assert not house.another.leads()
    house.turns[1].mine = True
    assert house.another.leads()
