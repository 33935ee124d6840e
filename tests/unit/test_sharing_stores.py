"""Connections that store: one thread serves them all, and none pays for another."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psutil
import pytest
from anyio import to_thread

from soma_core.domain.errors import Conflict, SomaError
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import BrowseQuery
from soma_core.domain.receipts import StoreReceipt
from soma_core.engine import Soma
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma
from soma_mcp.sharing.follower import Follower
from soma_mcp.sharing.owner import Listener, addresses
from soma_mcp.sharing.wire import Channel, ConnectionLost, method
from tests.support.engine import NAMESPACE, SCOPE, Engine, opened

CALLERS, EACH = 20, 10
Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on either event loop."""
    return lambda main: anyio.run(main, backend_options={"use_uvloop": request.param})


@dataclass
class Owner:
    """An engine that is open to others."""

    home: Path
    engine: Engine
    listener: Listener
    callers: list[Channel] = field(default_factory=list)

    def caller(self) -> Channel:
        """A connection whose stores the one thread serves from now on."""
        calling = self._connected()
        receipt(store(calling, "hello"))
        return calling

    def _connected(self) -> Channel:
        follower = Follower(self.home)
        calling = follower._take()
        calling._socket.settimeout(10)
        self.callers.append(calling)
        return calling

    def texts(self) -> Counter[str]:
        """Every live text that is not a greeting, and how often it is there."""
        return texts(self.engine.soma, "hello")

    @contextmanager
    def at_work(self) -> Iterator[list[int]]:
        """While the thread is in a store; what comes meanwhile comes together. How many calls each commit then had."""
        entered, go_on = threading.Event(), threading.Event()
        soma, found = self.engine.soma, list[int]()
        plain, first = soma.store_each, self.caller()

        def slow(calls: Sequence[tuple[Scope, NewMemory]]) -> list[StoreReceipt | SomaError]:
            found.append(len(calls))
            entered.set()
            assert go_on.wait(10)
            return plain(calls)

        soma.store_each = slow
        send(first, "hello")
        assert entered.wait(10)
        try:
            yield found
        finally:
            go_on.set()
        receipt(first.receive())


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    with opened(tmp_path) as engine:
        owner = Owner(tmp_path, engine, Listener(tmp_path))
        owner.listener.serve(engine.soma, {})
        yield owner
        owner.listener.close()
        for calling in owner.callers:
            calling.close()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Callable[[], SharedSoma]]:
    settings = load_settings({}, home=tmp_path / "home", disk_reserve="0")
    opened: list[SharedSoma] = []

    def shared() -> SharedSoma:
        opened.append(SharedSoma(settings, stay=False))
        return opened[-1]

    yield shared
    for memory in reversed(opened):
        memory.close()


def send(calling: Channel, text: str, request_id: str | None = None) -> None:
    scope = Scope(NAMESPACE, request_id=request_id)
    calling.send(b"S", method("store").encode((scope, NewMemory(text)), {}))


def store(calling: Channel, text: str) -> tuple[bytes, bytes]:
    send(calling, text)
    return calling.receive()


def receipt(answer: tuple[bytes, bytes]) -> StoreReceipt:
    """What the answer holds; an error is raised."""
    found: StoreReceipt = method("store").outcome(*answer)
    return found


def texts(memory: Soma | SharedSoma, but: str = "") -> Counter[str]:
    found: Counter[str] = Counter()
    cursor = None
    while True:
        page = memory.browse(SCOPE, BrowseQuery(limit=100, cursor=cursor))
        found.update(each.text for each in page.memories)
        if not (cursor := page.next_cursor):
            del found[but]
            return found


async def crowd(answers: list[tuple[str, StoreReceipt]], *memories: SharedSoma) -> None:
    """Many callers, each with one store after another; what they stored goes to `answers` with its receipt."""

    async def caller(number: int) -> None:
        memory = memories[number % len(memories)]
        for n in range(EACH):
            text = f"caller{number} says {n}"
            answers.append((text, await memory.call(Soma.store, SCOPE, NewMemory(text))))

    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(caller(number))


def check_each_is_there_once(memory: SharedSoma, answers: Sequence[tuple[str, StoreReceipt]]) -> None:
    there = texts(memory)
    assert [text for text, times in there.items() if times > 1] == []
    assert there.keys() ^ {text for text, _ in answers} == set()
    assert len(answers) == CALLERS * EACH
    for text, answer in answers:
        assert [found.text for found in memory.get(SCOPE, [str(answer.id)])] == [text]


async def leave(*memories: SharedSoma | Follower) -> None:
    """Close from within the event loop, which then sees its connections end."""
    for memory in memories:
        await to_thread.run_sync(memory.close)
    await asyncio.sleep(0.05)


def test_what_many_store_at_once_is_acknowledged_and_there_once(shared: Callable[[], SharedSoma], run: Run) -> None:
    async def main() -> None:
        owner, follower = shared(), shared()
        assert (owner.owns, follower.owns) == (True, False)
        answers: list[tuple[str, StoreReceipt]] = []
        await crowd(answers, owner, follower)
        await to_thread.run_sync(check_each_is_there_once, follower, answers)
        await leave(owner, follower)

    run(main)


def test_what_came_together_is_stored_in_one_commit(owner: Owner) -> None:
    callers = [owner.caller() for _ in range(8)]
    with owner.at_work() as commits:
        for n, calling in enumerate(callers):
            send(calling, f"memo {n}")
    ids = [str(receipt(calling.receive()).id) for calling in callers]
    assert commits == [1, 8]
    found = owner.engine.soma.get(SCOPE, ids)
    assert [memory.text for memory in found] == [f"memo {n}" for n in range(8)]


def test_a_conflict_is_its_callers_alone(owner: Owner) -> None:
    callers = [owner.caller() for _ in range(5)]
    owner.engine.soma.store(Scope(NAMESPACE, request_id="taken"), NewMemory("what the key stands for"))
    with owner.at_work() as commits:
        for n, calling in enumerate(callers):
            send(calling, f"memo {n}", request_id="taken" if n == 2 else f"free {n}")
    answers = [calling.receive() for calling in callers]
    assert commits == [1, 5]
    with pytest.raises(Conflict):
        receipt(answers.pop(2))
    assert len({receipt(answer).id for answer in answers}) == 4
    there = ["what the key stands for", "memo 0", "memo 1", "memo 3", "memo 4"]
    assert owner.texts() == Counter(there)


@pytest.mark.parametrize(
    "body",
    [b"", b"store", b"store\0", b"store\0{", b'store\0{"scope": 1}', b"store\0{}", b"\xff\0{}", b"nothing\0{}"],
)
def test_a_call_that_cannot_be_read_gets_an_error_and_those_beside_it_their_receipts(owner: Owner, body: bytes) -> None:
    callers = [owner.caller() for _ in range(3)]
    with owner.at_work():
        send(callers[0], "before")
        callers[1].send(b"S", body)
        send(callers[2], "after")
    receipt(callers[0].receive())
    assert callers[1].receive()[0] == b"E"
    receipt(callers[2].receive())
    receipt(store(callers[1], "and then one that can"))
    assert owner.texts() == Counter(["before", "after", "and then one that can"])


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(5), b"\xff" * 5])
def test_a_connection_that_sends_garbage_is_hung_up_and_the_others_are_served(owner: Owner, garbage: bytes) -> None:
    bad, good = owner.caller(), owner.caller()
    with owner.at_work():
        bad._socket.sendall(garbage)
        send(good, "beside it")
    with pytest.raises(ConnectionLost, match=r"closed|reset"):
        bad.receive()
    receipt(good.receive())
    receipt(store(good, "after it"))
    assert owner.texts() == Counter(["beside it", "after it"])


@pytest.mark.parametrize("calls", [1, 3])
def test_a_caller_that_goes_away_leaves_its_memories_and_disturbs_nobody(owner: Owner, calls: int) -> None:
    gone, stays = owner.caller(), owner.caller()
    with owner.at_work():
        for n in range(calls):
            send(gone, f"last words {n}")
        gone.close()
        send(stays, "beside it")
    receipt(stays.receive())
    receipt(store(stays, "after it"))
    assert owner.texts() == Counter(["beside it", "after it", *(f"last words {n}" for n in range(calls))])


def test_connections_that_ended_are_let_go(owner: Owner) -> None:
    owner.caller()
    before = psutil.Process().num_fds()
    for calling in [owner.caller() for _ in range(5)]:
        calling.close()
    deadline = time.monotonic() + 5
    while psutil.Process().num_fds() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_half_a_call_waits_for_its_other_half_and_holds_up_nobody(owner: Owner) -> None:
    slow, quick = owner.caller(), owner.caller()
    body = method("store").encode((SCOPE, NewMemory("in two halves")), {})
    whole = (len(body) + 1).to_bytes(4, "big") + b"S" + body
    slow._socket.sendall(whole[:20])
    receipt(store(quick, "meanwhile"))
    slow._socket.sendall(whole[20:])
    receipt(slow.receive())
    assert owner.texts() == Counter(["meanwhile", "in two halves"])


def test_when_the_owner_closes_what_was_acknowledged_is_there_and_the_rest_is_lost(owner: Owner, run: Run) -> None:
    acknowledged: list[str] = []
    ends: list[type[BaseException]] = []

    async def caller(follower: Follower, number: int) -> None:
        for n in range(1_000_000):
            text = f"caller{number} says {n}"
            try:
                await follower.call_async("store", (SCOPE, NewMemory(text)), {})
            except BaseException as error:
                ends.append(type(error))
                return
            acknowledged.append(text)

    async def main() -> None:
        follower = Follower(owner.home)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(caller(follower, number))
            while len(acknowledged) < CALLERS * 5:
                await asyncio.sleep(0.001)
            await to_thread.run_sync(owner.listener.close)
        follower.close()

    run(main)
    assert ends == [ConnectionLost] * CALLERS
    there = owner.texts()
    assert set(there.values()) == {1}
    assert set(acknowledged) <= there.keys()
    assert len(there) <= len(acknowledged) + CALLERS


def test_an_owner_that_closes_answers_the_commit_at_work_before_it_hangs_up(owner: Owner) -> None:
    calling = owner.caller()
    with ThreadPoolExecutor(1) as aside:
        with owner.at_work():
            closing = aside.submit(owner.listener.close)
            time.sleep(0.1)
            assert not closing.done()
        closing.result(10)
    with pytest.raises(ConnectionLost):
        store(calling, "too late")
    assert not owner.texts()


def test_callers_of_an_owner_that_leaves_get_their_receipts_and_nothing_is_doubled(
    shared: Callable[[], SharedSoma], run: Run
) -> None:
    async def main() -> None:
        owner, follower = shared(), shared()
        assert not follower.owns
        answers: list[tuple[str, StoreReceipt]] = []
        storing = asyncio.create_task(crowd(answers, follower))
        while len(answers) < CALLERS:
            await asyncio.sleep(0)
        assert not storing.done()
        await to_thread.run_sync(owner.close)
        await storing
        assert follower.owns
        await to_thread.run_sync(check_each_is_there_once, follower, answers)
        await leave(follower)

    run(main)


def test_a_call_that_was_cancelled_leaves_its_answer_to_nobody(owner: Owner, run: Run) -> None:
    async def stored(follower: Follower, text: str) -> StoreReceipt:
        found: StoreReceipt = await follower.call_async("store", (SCOPE, NewMemory(text)), {})
        return found

    async def main() -> None:
        follower = Follower(owner.home)
        await stored(follower, "so that there is an idle line")
        with owner.at_work():
            cancelled = asyncio.create_task(stored(follower, "of the cancelled"))
            await asyncio.sleep(0.05)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            following = asyncio.create_task(stored(follower, "of the next"))
            await asyncio.sleep(0.05)
        assert cancelled.cancelled()
        answer = await following
        assert [each.text for each in owner.engine.soma.get(SCOPE, [str(answer.id)])] == ["of the next"]
        await to_thread.run_sync(owner.listener.close)
        await asyncio.sleep(0.05)
        follower.close()

    run(main)


def test_a_caller_that_gives_up_before_the_owner_greets_leaves_no_connection_open(tmp_path: Path, run: Run) -> None:
    async def main(follower: Follower, silent: Listener) -> None:
        calling = asyncio.create_task(follower.call_async("store", (SCOPE, NewMemory("x")), {}))
        connection, _ = await to_thread.run_sync(silent._socket.accept)
        with connection:
            connection.settimeout(5)
            await asyncio.sleep(0.05)
            calling.cancel()
            await asyncio.wait([calling])
            assert await to_thread.run_sync(connection.recv, 1) == b""

    with opened(tmp_path) as engine:
        greeting = Listener(tmp_path)
        greeting.serve(engine.soma, {})
        follower = Follower(tmp_path)
        greeting.close()
    silent = Listener(tmp_path)
    run(lambda: main(follower, silent))
    silent.close()
    follower.close()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    """An owner whose data folder has too long a path for a socket in it."""
    home = tmp_path / ("long" * 25)
    home.mkdir()
    with tempfile.TemporaryDirectory() as temporary, opened(home) as engine:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        owner = Owner(home, engine, Listener(home))
        owner.listener.serve(engine.soma, {})
        yield owner
        owner.listener.close()


def test_the_owner_is_called_beside_temporary_files_where_only_this_user_may_listen(elsewhere: Owner, run: Run) -> None:
    async def main() -> None:
        follower = Follower(elsewhere.home)
        await follower.call_async("status", (SCOPE,), {})
        await to_thread.run_sync(elsewhere.listener.close)
        await leave(follower)

    run(main)


def let_others_in(folder: Path) -> None:
    folder.chmod(0o755)


def put_a_link(folder: Path) -> None:
    folder.symlink_to(folder.rename(folder.with_name("of-somebody")))


@pytest.mark.parametrize("spoil", [let_others_in, put_a_link])
def test_nobody_is_called_where_another_user_may_listen(
    elsewhere: Owner, run: Run, spoil: Callable[[Path], None]
) -> None:
    async def main() -> None:
        follower = Follower(elsewhere.home)
        (address,) = addresses(elsewhere.home)
        spoil(address.parent)
        with pytest.raises(ConnectionLost, match="only this user"):
            Follower(elsewhere.home)
        with pytest.raises(ConnectionLost, match="only this user"):
            await follower.call_async("status", (SCOPE,), {})
        await to_thread.run_sync(elsewhere.listener.close)
        await leave(follower)

    run(main)


def test_a_call_of_the_event_loop_passes_over_progress(tmp_path: Path, run: Run) -> None:
    async def main(follower: Follower, listener: Listener) -> None:
        assert await follower.call_async("index", (SCOPE,), {}) == 1
        await to_thread.run_sync(listener.close)
        await leave(follower)

    with opened(tmp_path) as engine:
        engine.soma.store(SCOPE, NewMemory("a text to index"))
        listener = Listener(tmp_path)
        listener.serve(engine.soma, {})
        run(lambda: main(Follower(tmp_path), listener))
