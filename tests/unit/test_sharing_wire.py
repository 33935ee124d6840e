"""Frames on the socket."""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import NewMemory, Scope
from soma_core.engine import Soma
from soma_core.services.requests import request_of
from soma_mcp.sharing import wire
from soma_mcp.sharing.wire import Channel, ConnectionLost, Frames, Line, frame, method

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    a, b = socket.socketpair()
    with a, b:
        yield a, b


def test_frames_arrive_one_by_one_as_they_were_sent(pair: Pair) -> None:
    a, b = pair
    here, there = Channel(a), Channel(b)
    for kind, body in ((b"H", b"{}"), (b"C", b""), (b"R", b"\x00\xff")):
        here.send(kind, body)
    assert [there.receive() for _ in range(3)] == [(b"H", b"{}"), (b"C", b""), (b"R", b"\x00\xff")]


def test_a_large_frame_arrives_whole(pair: Pair) -> None:
    a, b = pair
    body = bytes(range(256)) * 20_000
    sender = threading.Thread(target=Channel(a).send, args=(b"R", body))
    sender.start()
    assert Channel(b).receive() == (b"R", body)
    sender.join()


@pytest.mark.parametrize(
    "sent", [b"", b"\x00\x00", struct.pack(">I", 5) + b"R12"], ids=["nothing", "half a length", "half a body"]
)
def test_a_connection_that_ends_early_is_lost(pair: Pair, sent: bytes) -> None:
    a, b = pair
    a.sendall(sent)
    a.close()
    with pytest.raises(ConnectionLost):
        Channel(b).receive()


@pytest.mark.parametrize("length", [0, wire.MAX_FRAME + 1, 0xFFFFFFFF])
def test_a_length_that_is_no_frame_is_refused_before_anything_is_read(pair: Pair, length: int) -> None:
    a, b = pair
    a.sendall(struct.pack(">Ic", length, b"C"))
    with pytest.raises(ConnectionLost, match="does not speak this protocol"):
        Channel(b).receive()


def taken(frames: Frames) -> list[tuple[bytes, bytes]]:
    return list(iter(frames.take, None))


kinds = st.sampled_from([b"H", b"C", b"S", b"P", b"R", b"E"])


@given(st.lists(st.tuples(kinds, st.binary(max_size=40)), max_size=6), st.data())
def test_whatever_the_cut_the_same_frames_come_out_each_as_soon_as_it_is_whole(
    sent: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(*each) for each in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    frames, found = Frames(), list[tuple[bytes, bytes]]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames.feed(stream[start:end])
        found += taken(frames)
        assert stream[:end].startswith(b"".join(frame(*each) for each in found))
        whole = found + sent[len(found) : len(found) + 1]
        assert whole == found or len(b"".join(frame(*each) for each in whole)) > end
    assert found == sent


def test_frames_that_were_cut_byte_by_byte_come_out() -> None:
    frames, found = Frames(), list[tuple[bytes, bytes]]()
    for at in frame(b"S", b"one") + frame(b"C", b"") + frame(b"R", bytes(300)):
        frames.feed(bytes([at]))
        found += taken(frames)
    assert found == [(b"S", b"one"), (b"C", b""), (b"R", bytes(300))]


@pytest.mark.parametrize("length", [0, wire.MAX_FRAME + 1, 0xFFFFFFFF])
def test_a_length_that_is_no_frame_is_refused_after_the_frames_before_it(length: int) -> None:
    frames = Frames()
    frames.feed(frame(b"S", b"whole") + struct.pack(">Ic", length, b"S"))
    assert frames.take() == (b"S", b"whole")
    with pytest.raises(ConnectionLost, match="does not speak this protocol"):
        frames.take()


def test_the_longest_frame_is_waited_for() -> None:
    frames = Frames()
    frames.feed(struct.pack(">Ic", wire.MAX_FRAME, b"S"))
    assert frames.take() is None


def test_an_http_request_is_refused(pair: Pair) -> None:
    a, b = pair
    a.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionLost):
        Channel(b).receive()


def test_sending_to_nobody_is_a_lost_connection(pair: Pair) -> None:
    a, b = pair
    b.close()
    with pytest.raises(ConnectionLost):
        Channel(a).send(b"R", b"x")


def test_an_unknown_method_is_refused_and_private_ones_are_unknown() -> None:
    for name in ("nothing", "close", "housekeep", "__init__", "records"):
        with pytest.raises(SomaError, match=name):
            method(name)


@pytest.mark.parametrize("name", wire.SHARED_METHODS)
def test_every_shared_method_has_a_description_with_all_of_its_parameters(name: str) -> None:
    given = [p for p in inspect.signature(getattr(Soma, name)).parameters if p not in ("self", "progress")]
    assert list(method(name).parameters) == given
    assert method(name).reports_progress == ("progress" in inspect.signature(getattr(Soma, name)).parameters)


def test_positional_and_named_arguments_are_the_same_call() -> None:
    scope, memory = Scope("n"), NewMemory.parse("x")
    by_place = method("store").encode((scope, memory), {})
    by_name = method("store").encode((), {"scope": scope, "memory": memory})
    assert by_place == by_name


def test_a_call_that_came_over_the_wire_is_the_same_request() -> None:
    memory = NewMemory.parse("tea", tags=["a"], occurred_at="2026-03-14T09:30:00+02:00", payload={"b": 1, "a": [True]})
    scope = Scope("ns", request_id="once")
    sent = method("store_many").encode((scope, [memory]), {})
    arrived = method("store_many").arguments.validate_json(sent.partition(b"\0")[2])
    assert arrived["memories"] == [memory]
    assert request_of(scope, "store", arrived["memories"]) == request_of(scope, "store", [memory])


def test_sending_over_a_lost_connection_shows_at_the_next_receive() -> None:
    async def lose() -> None:
        mine, theirs = socket.socketpair()
        _, line = await asyncio.get_running_loop().create_connection(Line, sock=mine)
        theirs.close()
        with pytest.raises(ConnectionLost):
            await line.receive()
        line.send(b"C", b"{}")
        with pytest.raises(ConnectionLost):
            await line.receive()

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(lose())
