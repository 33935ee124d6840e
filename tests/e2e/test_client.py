"""The Python clients on real servers."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from soma_core.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Overloaded,
    RateLimited,
    SomaError,
    Unauthenticated,
    Unavailable,
)
from soma_core.domain.memory import Memory, MemoryType, NewMemory
from soma_core.domain.query import RecallQuery
from soma_core.domain.receipts import StoreReceipt, StoreStatus
from soma_mcp.client import AsyncSomaClient, SomaClient
from soma_mcp.client.attempts import Attempts
from tests.e2e.clients import Shell
from tests.e2e.remotes import TOKEN, Answer, SomaProcess, losing_proxy, scripted, soma_server
from tests.support.ports import free_port

SEPARATORS = "One\u2028two\u2029three\x85four\x1c🦉."
RECEIPT = {
    "ok": True,
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "version": 1,
    "status": "created",
    "indexed": "none",
    "similar": [],
}
STORED: Answer = (200, {}, json.dumps(RECEIPT).encode())


def refusal(status: int, code: str, **headers: str) -> Answer:
    body = {"error": {"code": code, "message": f"says {code}", "fields": ["text"], "request_id": "r-1"}}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SomaProcess]:
    with soma_server(tmp_path_factory.mktemp("client") / "home", SOMA_API_TOKEN=TOKEN) as found:
        yield found


def new_token(server: SomaProcess, namespace: str, scopes: str = "read,write") -> str:
    return Shell(server.home).text("token", "create", "--namespace", namespace, "--scopes", scopes).strip()


@pytest.fixture
def client(server: SomaProcess, request: pytest.FixtureRequest) -> Iterator[SomaClient]:
    """A client in a namespace of the test's own."""
    with SomaClient(server.url, new_token(server, request.node.name)) as found:
        yield found


def by_text(memories: Iterable[Memory]) -> list[list[Any]]:
    """What memories of two namespaces have in common."""
    own = ("id", "recorded_at", "created_at")
    common = [name for name in Memory.__slots__ if name not in own]
    return [[getattr(m, name) for name in common] for m in sorted(memories, key=lambda m: m.text)]


async def taken(memories: AsyncIterator[Memory]) -> list[Memory]:
    return [memory async for memory in memories]


# Every method


def test_a_memory_comes_back_with_every_field_and_is_found_and_forgotten(client: SomaClient) -> None:
    moment = datetime(2026, 3, 14, 7, 30, tzinfo=UTC)
    given: dict[str, Any] = {
        "type": "semantic",
        "tags": ["birds", "ü"],
        "thread": "zoo",
        "speaker": "Zoë",
        "occurred_at": moment,
        "coordinate": "1,2.5",
        "importance": 0.75,
        "payload": {"n": [1, 2.5, None], "content": "not the text"},
    }
    receipt = client.store(SEPARATORS, **given)
    (memory,) = client.get([str(receipt.id)[-12:]])

    assert isinstance(receipt, StoreReceipt)
    assert receipt.status is StoreStatus.CREATED
    assert (memory.id, memory.version, memory.text, memory.position) == (receipt.id, 1, SEPARATORS, 0)
    assert {name: getattr(memory, name) for name in given} == given | {
        "type": MemoryType.SEMANTIC,
        "tags": ("birds", "ü"),
    }
    assert client.browse(tags=["birds"], since="2026-03-14", until="2026-03-14").memories == [memory]
    assert client.browse(until=moment).memories == []
    (hit,) = client.recall("four", types=["semantic"], thread="zoo").hits
    assert hit.memory == memory
    assert hit.score == hit.parts.total > 0
    (ageless,) = client.recall("four", recency=False).hits
    assert hit.parts.recency > 0 == ageless.parts.recency
    assert client.recall("four", payload={"n": 7}).hits == []
    found = client.recall("four", thread="zoo")
    again = client.recall("four", thread="zoo", since_cursor=found.cursor)
    assert ([each.memory for each in found.hits], again.hits, again.seen) == ([memory], [], 1)
    assert client.forget(thread="zoo", before=moment, dry_run=True).count == 0
    forgotten = client.forget([receipt.id], purge=True, reason="a test")
    assert (forgotten.ids, forgotten.count) == ([receipt.id], 1)
    with pytest.raises(NotFound, match=str(receipt.id)) as refused:
        client.get([receipt.id])
    assert refused.value.fields == ("ids",)
    assert client.status().purged == 1


def test_a_checked_store_names_the_memory_that_says_the_same(client: SomaClient) -> None:
    first = client.store("Owls sleep by day.")
    again = client.store(NewMemory.parse("Owls sleep by day."), check=True)

    assert again.status is StoreStatus.DUPLICATE
    assert again.id == first.id


def test_many_memories_are_kept_all_or_none_unless_partial(client: SomaClient) -> None:
    good, bad = NewMemory.parse("Good."), NewMemory(" ")
    receipts = client.store_many(["A text.", {"text": "A dictionary.", "tags": ["d"]}, good])
    with pytest.raises(InvalidInput, match=r"items\[1\]\.text") as refused:
        client.store_many([good, bad])
    outcome = client.store_many([bad, good], partial=True)

    assert [memory.text for memory in client.get([receipt.id for receipt in receipts])] == [
        "A text.",
        "A dictionary.",
        "Good.",
    ]
    assert refused.value.fields == ("items[1].text",)
    assert isinstance(outcome[0], InvalidInput)
    assert isinstance(outcome[1], StoreReceipt)
    assert client.status().live == 4
    assert client.store_many([]) == []


def test_an_export_imported_elsewhere_is_the_same_again(server: SomaProcess, client: SomaClient) -> None:
    texts = [SEPARATORS, *(f"Memory {number}." for number in range(250))]
    client.store_many([{"text": text, "payload": {"of": text}, "occurred_at": "2026-01-02"} for text in texts])
    with SomaClient(server.url, new_token(server, "copy")) as other:
        first = other.import_(client.export(), key="once")
        again = other.import_(client.export(), key="once")
        copied = list(other.export())

    assert first.stored == again.stored == len(texts)
    assert sorted(memory.text for memory in copied) == sorted(texts)
    assert by_text(copied) == by_text(client.export())


def test_an_import_names_the_lines_that_are_wrong(client: SomaClient) -> None:
    lines: list[Any] = [{"text": "Good."}, {"text": ""}, {"text": "x", "colour": "red"}]
    with pytest.raises(InvalidInput, match="line 2"):
        client.import_(lines)
    assert client.status().live == 0

    found = client.import_(lines, partial=True)

    assert found.stored == 1
    assert [(refused.line, refused.code) for refused in found.refused] == [(2, "invalid_input"), (3, "invalid_input")]


def test_the_asynchronous_client_does_the_same(server: SomaProcess) -> None:
    async def run() -> None:
        async with AsyncSomaClient(server.url, new_token(server, "async")) as client:
            receipt = await client.store("Owls sleep by day.", tags=["birds"], key="k")
            assert (await client.store("Owls sleep by day.", tags=["birds"], key="k")).id == receipt.id
            await client.store_many([f"Number {n}." for n in range(5)])
            outcome = await client.store_many([NewMemory(""), "Good."], partial=True)
            assert [isinstance(each, SomaError) for each in outcome] == [True, False]
            (memory,) = await client.get([receipt.id])
            assert (await client.recall(RecallQuery.parse("owls", limit=1))).hits[0].memory == memory
            page = await client.browse(limit=2)
            rest = await client.browse(limit=10, cursor=page.next_cursor)
            assert await taken(client.export()) == [*page.memories, *rest.memories][::-1]
            assert (await client.import_([memory, {"text": "Another."}])).stored == 2
            assert (await client.forget(tags=["birds"])).count == 2
            assert (await client.status()).live == 7
            with pytest.raises(NotFound):
                await client.get([receipt.id])

    anyio.run(run)


# Who may do what


def test_a_wrong_token_is_refused_and_so_is_none(server: SomaProcess) -> None:
    for token in ("a-token-that-is-wrong", None):
        with SomaClient(server.url, token) as client, pytest.raises(Unauthenticated):
            client.store("Not to be kept.")
        with SomaClient(server.url, token) as client, pytest.raises(Unauthenticated):
            list(client.export())


def test_a_token_that_may_only_read_cannot_store(server: SomaProcess) -> None:
    with SomaClient(server.url, new_token(server, "reading", "read")) as client:
        assert client.status().namespace == "reading"
        with pytest.raises(Forbidden):
            client.store("Not to be kept.")
        assert client.status().live == 0


def test_nothing_crosses_from_one_namespace_to_another(server: SomaProcess, client: SomaClient) -> None:
    receipt = client.store("A secret of the first.", key="k")
    with SomaClient(server.url, new_token(server, "second")) as other:
        assert other.store("Something else.", key="k").id != receipt.id
        assert [hit.memory.text for hit in other.recall("secret of the first").hits] in ([], ["Something else."])
        assert [memory.text for memory in other.export()] == ["Something else."]
        for call in (other.get, other.forget):
            with pytest.raises(NotFound):
                call([receipt.id])
    assert client.get([receipt.id])[0].text == "A secret of the first."


# Bad luck


def test_the_same_key_is_applied_once_and_refused_with_other_arguments(client: SomaClient) -> None:
    for key in ("once", "schlüssel ☂"):
        receipt = client.store("Told twice.", key=key)
        again = client.store("Told twice.", key=key)
        assert (again.id, again.version, again.status) == (receipt.id, 1, StoreStatus.CREATED)
        with pytest.raises(Conflict):
            client.store("Told otherwise.", key=key)
    assert client.status().live == 2


def test_a_store_whose_answer_was_lost_with_the_server_is_applied_once(tmp_path: Path) -> None:
    with soma_server(tmp_path / "home") as server:
        restart = threading.Timer(0.5, server.start)

        def crash() -> None:
            server.kill()
            restart.start()

        with losing_proxy(server.port, crash) as port, SomaClient(f"http://127.0.0.1:{port}", retries=10) as client:
            receipt = client.store("Told in the crash.")
            restart.join()
            assert receipt.status is StoreStatus.CREATED
            assert [memory.id for memory in client.export()] == [receipt.id]


def test_a_call_that_got_no_connection_was_not_sent() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        Attempts("http://soma", 0).failed(httpx2.PoolTimeout("all are taken"))


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with SomaClient(url, retries=1) as client, pytest.raises(Unavailable, match=f"{url} cannot be reached"):
        client.status()

    async def run() -> None:
        async with AsyncSomaClient(url, retries=1) as client:
            with pytest.raises(Unavailable, match=f"{url} cannot be reached"):
                await client.status()

    anyio.run(run)


def test_a_busy_server_is_asked_again_after_the_time_it_names_with_the_same_key() -> None:
    with scripted(refusal(429, "overloaded", retry_after="1"), (503, {}, b"gateway"), STORED) as script:
        began = time.monotonic()
        with SomaClient(script.url) as client:
            receipt = client.store("Once.")

    assert str(receipt.id) == RECEIPT["id"]
    assert time.monotonic() - began >= 1
    assert len(script.asked) == 3
    keys = {headers["idempotency-key"] for _, headers, _ in script.asked}
    assert len(keys) == 1
    assert len({body for _, _, body in script.asked}) == 1


def test_an_import_is_sent_again_in_full() -> None:
    answer: Answer = (200, {}, b'{"stored": 300, "refused": []}')

    async def run(url: str) -> None:
        async with AsyncSomaClient(url) as client:
            await client.import_({"text": "x" * 500} for _ in range(300))

    def run_sync(url: str) -> None:
        with SomaClient(url) as client:
            client.import_({"text": "x" * 500} for _ in range(300))

    for send in (run_sync, lambda url: anyio.run(run, url)):
        with scripted(refusal(503, "unavailable"), answer) as script:
            send(script.url)
        assert len(script.asked) == 2
        first, second = ((path, headers["idempotency-key"], body) for path, headers, body in script.asked)
        assert first == second
        assert first[0] == "/import?partial=false"
        assert first[2] == (json.dumps({"text": "x" * 500}) + "\n").encode() * 300


def test_an_error_that_waiting_does_not_help_is_raised_at_once() -> None:
    for answer, kind in (
        (refusal(422, "invalid_input"), InvalidInput),
        (refusal(500, "internal"), SomaError),
        (refusal(429, "rate_limited", retry_after="3600"), RateLimited),
        ((404, {}, b"<html>no such page</html>"), Unavailable),
        ((200, {}, b"<html>welcome</html>"), Unavailable),
        ((200, {}, b'{"ok": true}'), Unavailable),
        ((302, {"location": "http://192.0.2.1/"}, b""), Unavailable),
    ):
        with scripted(answer) as script, SomaClient(script.url) as client:
            with pytest.raises(kind) as refused:
                client.store("Text.")
            assert type(refused.value) is kind
            assert len(script.asked) == 1
            assert script.url in refused.value.message or refused.value.message.startswith("says")
            if isinstance(refused.value, RateLimited):
                assert refused.value.retry_after == 3600
            if kind in (InvalidInput, SomaError):
                assert refused.value.fields == ("text",)
                assert refused.value.__notes__ == ["request r-1"]


def test_the_attempts_are_bounded() -> None:
    with scripted(refusal(429, "overloaded")) as script, SomaClient(script.url, retries=2) as client:
        with pytest.raises(Overloaded, match="says overloaded"):
            client.recall("anything")
        assert len(script.asked) == 3


def test_a_server_that_hangs_is_given_up_after_the_timeout() -> None:
    with scripted(STORED, held=True) as script, SomaClient(script.url, timeout=0.3) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="did not answer in time"):
            client.store("Text.")
        assert time.monotonic() - began < 3
        assert len(script.asked) == 1


def test_an_export_that_breaks_off_is_no_complete_export(client: SomaClient) -> None:
    client.store("Only one.")
    (memory,) = client.export()
    line = json.dumps({**{name: getattr(memory, name) for name in Memory.__slots__}}, default=str).encode()
    with scripted((200, {"content-length": "5000"}, line + b"\n" + line[:20])) as script:
        with SomaClient(script.url) as broken:
            found = broken.export()
            assert replace(next(found), namespace="") == memory
            with pytest.raises(Unavailable, match="broke off"):
                next(found)
        assert len(script.asked) == 1


# What is refused before anything is sent


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "host:9595", "http://", "http://u:p@host", "http://host/?q=1", "http://a b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="url"):
        SomaClient(url)


def test_bad_input_is_refused_without_a_server() -> None:
    with SomaClient("http://127.0.0.1:1") as client:
        for call in (
            lambda: client.store(" "),
            lambda: client.store("x", importance=2),
            lambda: client.store_many([{"text": "x", "colour": "red"}]),
            lambda: client.store("x", key=""),
            lambda: client.recall("x", limit=0),
            lambda: client.get(["nonsense"]),
        ):
            with pytest.raises(InvalidInput):
                call()


def test_a_token_in_the_clear_over_a_network_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://soma.example.com"):
            SomaClient(url, TOKEN).close()
        assert caplog.messages == []
        SomaClient("http://soma.example.com", TOKEN).close()
    (message,) = caplog.messages
    assert "http://soma.example.com is sent in the clear" in message
    assert TOKEN not in message


def test_a_tag_with_a_comma_and_blanks_can_be_asked_for(client: SomaClient) -> None:
    client.store("filed oddly", tags=["a, b ", "c"])
    client.store("filed plainly", tags=["c"])
    assert [found.text for found in client.browse(tags=["a, b ", "c"]).memories] == ["filed oddly"]
