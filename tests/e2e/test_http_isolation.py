"""Two tokens, two namespaces, one server: nothing crosses, by any route, and a token allows just what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from soma_core.domain.memory import new_id
from tests.e2e.clients import MODES, McpClient, Shell, error_of, text_of, wait_until
from tests.e2e.http_server import Caller, HttpServer, http_server
from tests.e2e.http_server import error_of as http_error_of

SECRET = "bittern"
COORD = "1,2,3"


@dataclass
class House:
    """A server with two namespaces that know nothing of each other."""

    server: HttpServer
    shell: Shell
    owner: Caller
    intruder: Caller
    ids: list[str]
    """Of the owner's memories; the first lies at `COORD`."""
    log: Path

    def token(self, namespace: str, scopes: str) -> tuple[str, str]:
        """A new token and its id."""
        made = self.shell.json("token", "create", "--namespace", namespace, "--scopes", scopes)
        return made["token"], made["id"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("isolation") / "home"
    shell = Shell(home)
    tokens = [
        shell.json("token", "create", "--namespace", name, "--scopes", "read,write")["token"]
        for name in ("owner", "intruder")
    ]
    with http_server(home) as running:
        owner, intruder = (running.caller(token) for token in tokens)
        ids = [
            owner.store(f"the {SECRET} sleeps by the reed", coord=COORD, thread="nest", tags=["bird"], speaker="Ana"),
            owner.store(f"the {SECRET} eats fish", thread="nest", tags=["bird"], payload={"kind": SECRET}),
            owner.store(f"a second {SECRET}", coord="2,2,2", type="semantic"),
        ]
        intruder.store("a stone", coord="9,9,9")
        owner.until_embedded()
        intruder.until_embedded()
        yield House(running, shell, owner, intruder, ids, home.with_name("mcp.log"))


@pytest.fixture(autouse=True)
def untouched(house: House) -> Iterator[None]:
    """Whatever a test does, the owner's memory is the same afterwards."""
    before = house.owner.export(), house.owner.get("/stats")
    assert before[0].count(SECRET) >= 3
    yield
    assert (house.owner.export(), house.owner.get("/stats")) == before


def readings(house: House) -> list[tuple[str, str, Any]]:
    """Requests with which the owner sees the secret."""
    asked = {"query": "what sleeps by the reed?", "top_k": 100}
    cursor = house.owner.get("/memories", limit=1)["next_cursor"]
    found: list[tuple[str, str, Any]] = [
        ("POST", "/recall", asked),
        ("POST", "/recall", asked | {"filters": {"kind": SECRET}}),
        ("POST", "/recall", asked | {"hybrid": False}),
        ("GET", "/recall?query=reed&top_k=100", None),
        ("POST", "/recall_batch", {"queries": ["reed", "fish"], "top_k": 100}),
        ("POST", "/recall_with_scores", asked),
        ("POST", "/hybrid_recall_with_scores", asked | {"terms": [SECRET], "boost": 100}),
        ("POST", "/recall_with_context", asked | {"context": {"bird": SECRET}}),
        ("POST", "/keyword_search", {"term": SECRET}),
        ("POST", "/keyword_search", {"term": SECRET[:3], "exact": False}),
        ("GET", "/range?min=-100,-100,-100&max=100,100,100", None),
        ("GET", f"/range?min={COORD}&max={COORD}", None),
        ("GET", "/memories", None),
        ("GET", "/memories?thread=nest", None),
        ("GET", "/memories?tags=bird", None),
        ("GET", "/memories?speaker=Ana", None),
        ("GET", f"/memories?cursor={cursor}", None),
        ("GET", f"/memories?ids={','.join(house.ids)}", None),
        ("GET", "/export", None),
    ]
    for id in house.ids:
        found += [("GET", f"/memories/{given}", None) for given in (id, id[-12:], id.upper())]
        found += [("GET", f"/memories?ids={id[-12:]}", None)]
    return found


def test_no_reading_crosses(house: House) -> None:
    for method, path, body in readings(house):
        seen = house.owner.ask(method, path, body)
        assert SECRET in seen.text, (method, path)
        answer = house.intruder.ask(method, path, body)
        assert answer.status_code in (200, 404), (method, path, answer.text)
        assert SECRET not in answer.text.lower(), (method, path)
        if answer.status_code == 404:
            assert http_error_of(answer)["code"] == "not_found"


def test_stats_count_only_the_own(house: House) -> None:
    found = house.intruder.get("/stats")
    assert (found["namespace"], found["total_memories"]) == ("intruder", 1)
    assert house.owner.get("/stats")["total_memories"] == len(house.ids)


def test_ids_of_the_other_are_as_unknown_as_ids_of_nobody(house: House) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    for id in house.ids:
        real, guessed = (house.intruder.refused(404, "GET", f"/memories/{each}") for each in (id, nobody))
        assert real["message"].replace(id, nobody) == guessed["message"]
        real, guessed = (house.intruder.refused(404, "POST", "/forget", {"ids": [each]}) for each in (id, nobody))
        assert real["message"].replace(id, nobody) == guessed["message"]


def test_nothing_of_the_other_can_be_forgotten(house: House) -> None:
    for id in house.ids:
        for given in (id, id[-12:]):
            house.intruder.refused(404, "DELETE", f"/memories/{given}")
            house.intruder.refused(404, "DELETE", f"/memories/{given}?purge=true")
            for more in ({}, {"purge": True}, {"dry_run": True}):
                house.intruder.refused(404, "POST", "/forget", {"ids": [given], **more})
    own = house.intruder.store("mine, for a moment")
    receipt = house.intruder.post("/forget", {"ids": [own, *house.ids], "purge": True})
    assert (receipt["ids"], receipt["not_found"]) == ([own], house.ids)
    for body in ({"thread": "nest"}, {"tags": ["bird"]}, {"speaker": "Ana"}, {"thread": "nest", "purge": True}):
        assert house.intruder.post("/forget", body)["count"] == 0
    plan = house.intruder.post("/forget", {"before": "9999-01-01", "dry_run": True})
    assert plan["count"] == 1
    assert set(plan["ids"]).isdisjoint(house.ids)


def test_the_same_coordinate_is_another_place_in_another_namespace(house: House) -> None:
    receipt = house.intruder.post("/store", {"text": "a pebble", "coord": COORD, "check": True})
    assert (receipt["status"], receipt["version"]) == ("created", 1)
    assert receipt["id"] == str(new_id("intruder", COORD)) != house.ids[0]
    assert SECRET not in json.dumps(receipt)
    assert house.ids[0] == str(new_id("owner", COORD))
    house.intruder.post("/import", json.dumps({"id": house.ids[0], "text": "a copy", "coordinate": "2,2,2"}).encode())
    house.intruder.post("/store_bulk", {"items": [{"text": "a third", "coord": "2,2,2"}]})
    assert house.intruder.post("/forget", {"ids": [receipt["id"]], "purge": True})["count"] == 1
    house.intruder.delete(f"/memories/{new_id('intruder', '2,2,2')}", purge=True)


def test_a_text_of_the_other_is_not_named_as_similar(house: House) -> None:
    body = {"text": f"the {SECRET} sleeps by the reed", "check": True}
    receipt = house.intruder.post("/store", body)
    assert (receipt["status"], receipt["similar"]) == ("created", [])
    house.intruder.delete(f"/memories/{receipt['id']}", purge=True)


def test_a_key_is_that_of_its_namespace(house: House) -> None:
    third = house.server.caller(house.token("third", "read,write")[0])
    own = house.intruder.store("a stick", key="shared-key")
    assert third.store("a reed", key="shared-key") != own
    third.refused(409, "POST", "/store", {"text": "a stick", "key": "shared-key"})
    house.intruder.delete(f"/memories/{own}", purge=True)


def test_the_way_of_saying_it_does_not_change_the_namespace(house: House) -> None:
    asked = {"query": "reed", "namespace": "owner", "scope": {"namespace": "owner"}, "caller": "local"}
    for headers in ({"X-Namespace": "owner"}, {"Soma-Namespace": "owner"}, {"X-Forwarded-User": "owner"}):
        answer = house.intruder.ask("POST", "/recall?namespace=owner", asked, headers=headers)
        assert answer.status_code == 200
        assert SECRET not in answer.text


def test_a_failure_of_one_says_nothing_to_the_other(house: House) -> None:
    for path in ("/", "/healthz", "/readyz", "/health", "/metrics", "/openapi.json"):
        answer = house.intruder.ask("GET", path)
        assert SECRET not in answer.text
        assert not any(id in answer.text for id in house.ids)
    assert SECRET not in house.server.log


# Over MCP.


@contextmanager
def mcp_caller(house: House, token: str | None, mode: str) -> Iterator[McpClient]:
    """An MCP client over HTTP, with a token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    house.log.touch()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False)) as http,
    ):
        transport = streamable_http_client(f"{house.server.url}/mcp", http_client=http)
        with portal.wrap_async_context_manager(Client(transport, mode=mode)) as client:
            yield McpClient(client, portal, house.log)


@pytest.mark.parametrize("mode", MODES)
def test_no_tool_of_mcp_crosses(house: House, mode: str) -> None:
    cursor = house.owner.get("/memories", limit=1)["next_cursor"]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("recall", {"query": "what sleeps by the reed?", "limit": 50}),
        ("recall", {"query": "fish", "thread": "nest"}),
        ("browse", {}),
        ("browse", {"thread": "nest"}),
        ("browse", {"cursor": cursor}),
        ("get", {"ids": house.ids}),
        *(("get", {"ids": [given]}) for id in house.ids for given in (id, id[-12:])),
    ]
    with mcp_caller(house, house.owner.token, mode) as owner, mcp_caller(house, house.intruder.token, mode) as intruder:
        for tool, arguments in calls:
            assert SECRET in text_of(owner.call(tool, **arguments)), (tool, arguments)
            found = intruder.call(tool, **arguments)
            assert SECRET not in found.model_dump_json(), (tool, arguments)
            assert not found.is_error or error_of(found)["code"] == "not_found"
        for id in house.ids:
            for more in ({}, {"purge": True}):
                assert intruder.refused("forget", ids=[id], **more)["code"] == "not_found"
        assert intruder.ok("forget", thread="nest")["count"] == 0
        assert intruder.ok("status")["namespace"] == "intruder"
        assert SECRET in owner.read("memory://recent")
        assert SECRET not in intruder.read("memory://recent")
        assert SECRET in owner.read(f"memory://{house.ids[0]}")
        with pytest.raises(Exception, match="not_found"):
            intruder.read(f"memory://{house.ids[0]}")


def test_callers_of_mcp_at_the_same_time_keep_their_own_namespaces(house: House) -> None:
    with (
        mcp_caller(house, house.owner.token, "auto") as owner,
        mcp_caller(house, house.intruder.token, "auto") as other,
    ):
        with start_blocking_portal() as portal:
            running = portal.start_task_soon(_often, owner)
            seen = other.many("browse", [{}] * 100)
            assert all(SECRET in json.dumps(each) for each in running.result(60))
        assert all(SECRET not in json.dumps(each) for each in seen)


async def _often(client: McpClient) -> list[dict[str, Any]]:
    return await to_thread.run_sync(lambda: client.many("browse", [{}] * 100))


# What a token allows.

WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/store", {"text": "x"}),
    ("POST", "/store", {"text": "x", "check": True}),
    ("POST", "/store_bulk", {"items": [{"text": "x"}]}),
    ("POST", "/forget", {"thread": "nest"}),
    ("POST", "/forget", {"thread": "nest", "dry_run": True}),
    ("POST", "/import", b'{"text":"x"}'),
]


def writings(house: House) -> list[tuple[str, str, Any]]:
    return [*WRITES, ("DELETE", f"/memories/{house.ids[0]}", None), ("DELETE", f"/memories/{house.ids[0][-12:]}", None)]


def test_a_token_that_may_only_read_writes_nothing(house: House) -> None:
    token, _ = house.token("owner", "read")
    reader = house.server.caller(token)
    for method, path, body in writings(house):
        assert reader.refused(403, method, path, body)["code"] == "forbidden"
    for method, path, body in readings(house):
        assert SECRET in reader.ask(method, path, body).text
    with mcp_caller(house, token, "auto") as mcp:
        assert mcp.refused("store", text="x")["code"] == "forbidden"
        assert mcp.refused("forget", thread="nest")["code"] == "forbidden"
        assert mcp.texts("reed")


def test_a_token_that_may_only_write_reads_nothing(house: House) -> None:
    token, _ = house.token("owner", "write")
    writer = house.server.caller(token)
    for method, path, body in [*readings(house), ("GET", "/stats", None)]:
        answer = writer.ask(method, path, body)
        assert (answer.status_code, http_error_of(answer)["code"]) == (403, "forbidden"), (method, path)
        assert SECRET not in answer.text
    same = {"text": f"the {SECRET} sleeps by the reed", "check": True}
    assert writer.refused(403, "POST", "/store", same)["code"] == "forbidden"
    with mcp_caller(house, token, "auto") as mcp:
        for tool, arguments in (
            ("recall", {"query": "reed"}),
            ("browse", {}),
            ("get", {"ids": house.ids}),
            ("status", {}),
        ):
            assert mcp.refused(tool, **arguments)["code"] == "forbidden"
        assert mcp.refused("store", **same)["code"] == "forbidden"
        with pytest.raises(Exception, match="forbidden"):
            mcp.read("memory://recent")


def test_a_token_that_may_only_write_does_write(house: House) -> None:
    token, _ = house.token("intruder", "write")
    id = house.server.caller(token).store("written blind")
    assert house.intruder.get(f"/memories/{id}")["text"] == "written blind"
    with mcp_caller(house, token, "auto") as mcp:
        mcp.ok("forget", ids=[id])
    house.intruder.refused(404, "GET", f"/memories/{id}")


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer x", "Basic eDp5", "Bearer soma_0000000000000000_nonsense", "bearer ~~~", "Token x"],
)
def test_without_a_good_token_every_route_is_closed(house: House, header: str | None) -> None:
    stranger = house.server.caller()
    headers = {"Authorization": header} if header else {}
    for method, path, body in [*readings(house), *writings(house), ("GET", "/stats", None), ("POST", "/mcp", {})]:
        options = {"headers": headers | ({"Content-Type": "application/json"} if body is not None else {})}
        answer = stranger.ask(method, path, body, **options)
        assert (answer.status_code, http_error_of(answer)["code"]) == (401, "unauthenticated"), (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert SECRET not in answer.text
    for path in ("/nope", "/memories/a/b", "/store/"):
        assert stranger.ask("GET", path, headers=headers).status_code == 401


def test_a_revoked_token_is_good_for_nothing_within_a_second(house: House) -> None:
    token, id = house.token("owner", "read")
    caller = house.server.caller(token)
    assert SECRET in caller.export()
    house.shell.run("token", "revoke", id)
    revoked = time.monotonic()
    wait_until(lambda: caller.ask("GET", "/export").status_code == 401, 5, "the refusal of a revoked token")
    assert time.monotonic() - revoked < 1.5
    assert caller.refused(401, "POST", "/recall", {"query": "reed"})["code"] == "unauthenticated"


def test_a_token_of_no_scope_of_that_name_cannot_be_made(house: House) -> None:
    assert "scopes" in house.shell.complaint("token", "create", "--namespace", "owner", "--scopes", "read,fly")
