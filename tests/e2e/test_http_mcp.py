"""MCP over streamable HTTP: the real server process and the protocol's own client, in both eras."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jwt
import pytest
from anyio.from_thread import start_blocking_portal
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

from tests.e2e.clients import MODES, McpClient, Server, Shell, error_of, mcp_client, server, wait_until
from tests.e2e.http_server import Caller, HttpServer, http_server
from tests.e2e.http_server import error_of as http_error_of
from tests.support.http import key_server

JSON = {"Content-Type": "application/json"}
PATIENCE = 20.0
KEY = rsa.generate_private_key(65_537, 2_048)
STRANGER = rsa.generate_private_key(65_537, 2_048)
ISSUER = "https://issuer.example/tenant"
AUDIENCE = "https://memory.example/mcp"


@contextmanager
def connected(url: str, mode: str, token: str | None = None) -> Iterator[McpClient]:
    """The protocol's client at the MCP endpoint of a server."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with start_blocking_portal() as portal:
        http = httpx2.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False)
        with portal.wrap_async_context_manager(http):
            transport = streamable_http_client(f"{url}/mcp", http_client=http)
            with portal.wrap_async_context_manager(Client(transport, mode=mode)) as client:
                yield McpClient(client, portal, Path(os.devnull))


def message(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()


def call(tool: str, **arguments: Any) -> bytes:
    return message("tools/call", name=tool, arguments=arguments)


def result_of(answer: httpx2.Response) -> CallToolResult:
    """The result of a tool call that a JSON answer holds."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return CallToolResult.model_validate(answer.json()["result"])


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def open_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("open") / "home"


@pytest.fixture(scope="module")
def open_server(open_home: Path) -> Iterator[HttpServer]:
    """A server that needs no token."""
    with http_server(open_home) as found:
        found.caller().store("The wombat sleeps in the shed.", thread="zoo", tags=["animals"])
        found.caller().until_embedded()
        yield found


@pytest.fixture(scope="module")
def client(open_server: HttpServer, mode: str) -> Iterator[McpClient]:
    with connected(open_server.url, mode) as found:
        yield found


@pytest.fixture(scope="module")
def stdio(open_server: HttpServer, open_home: Path, mode: str) -> Iterator[McpClient]:
    """A stdio client on the same data folder."""
    with mcp_client(open_home, mode) as found:
        yield found


def test_tools_resources_and_instructions_are_those_of_stdio(client: McpClient, stdio: McpClient) -> None:
    tools = client.run("list_tools").tools
    assert sorted(tool.name for tool in tools) == ["browse", "forget", "get", "recall", "status", "store"]
    assert tools == stdio.run("list_tools").tools
    assert client.run("list_resources").resources == stdio.run("list_resources").resources
    templates = client.run("list_resource_templates").resource_templates
    assert [found.uri_template for found in templates] == ["memory://{id}"]
    assert templates == stdio.run("list_resource_templates").resource_templates
    assert client.instructions
    assert client.instructions == stdio.instructions


def test_what_one_of_http_and_stdio_stores_the_other_answers_alike(client: McpClient, stdio: McpClient) -> None:
    for writer, reader, word in ((client, stdio, "quokka"), (stdio, client, "numbat")):
        key = writer.ok("store", text=f"The {word} was seen at the gate.", thread=word)["id"]
        writer.until_embedded()
        for tool, arguments in (
            ("recall", {"query": f"where was the {word}"}),
            ("get", {"ids": [key]}),
            ("browse", {"thread": word}),
            ("forget", {"thread": word, "dry_run": True}),
            ("status", {}),
            ("get", {"ids": ["no id"]}),
            ("store", {"text": ""}),
            ("recall", {"question": "x"}),
        ):
            theirs, ours = writer.call(tool, **arguments), reader.call(tool, **arguments)
            assert (ours.content, ours.structured_content, ours.is_error) == (
                theirs.content,
                theirs.structured_content,
                theirs.is_error,
            )
        assert word in reader.texts(f"where was the {word}")[0]
        assert word in reader.read("memory://recent") == writer.read("memory://recent")
        assert key in reader.read(f"memory://{key}") == writer.read(f"memory://{key}")
        assert writer.ok("forget", ids=[key])["count"] == 1
        assert word not in str(reader.ok("recall", query=f"where was the {word}"))


def test_a_client_that_takes_json_only_gets_json_and_any_other_an_event_stream(open_server: HttpServer) -> None:
    caller = open_server.caller()
    asked = call("recall", query="where does the wombat sleep")
    plain = caller.ask("POST", "/mcp", asked, headers=JSON | {"Accept": "application/json"})
    assert result_of(plain).structured_content is not None
    stream = caller.ask("POST", "/mcp", asked, headers=JSON | {"Accept": "application/json, text/event-stream"})
    assert stream.headers["content-type"] == "text/event-stream"
    data = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(found) for found in data] == [plain.json()]
    assert "wombat" in data[0]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_another_method_than_post_is_refused_and_not_left_open(open_server: HttpServer, method: str) -> None:
    answer = open_server.caller().ask(method, "/mcp", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert http_error_of(answer)["code"] == "method_not_allowed"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"jsonrpc":"2.0"}', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_message_is_answered_by_a_protocol_error(open_server: HttpServer, body: bytes) -> None:
    for accept in ("application/json", "application/json, text/event-stream"):
        answer = open_server.caller().ask("POST", "/mcp", body, headers=JSON | {"Accept": accept})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in (-32700, -32600, -32602)


def test_a_foreign_host_or_page_is_refused_while_no_token_is_needed(open_server: HttpServer) -> None:
    caller = open_server.caller()
    for foreign in (
        {"Host": "memory.example"},
        {"Host": "127.0.0.1.nip.example:80"},
        {"Origin": "https://page.example"},
    ):
        answer = caller.ask("POST", "/mcp", call("status"), headers=JSON | {"Accept": "application/json"} | foreign)
        assert answer.status_code == 403, foreign
        assert http_error_of(answer)["code"] == "forbidden"
    local = JSON | {"Accept": "application/json", "Host": f"localhost:{open_server.url.rpartition(':')[2]}"}
    assert result_of(caller.ask("POST", "/mcp", call("status"), headers=local)).structured_content is not None


def test_twenty_clients_at_once_lose_nothing(open_server: HttpServer) -> None:
    each = 8
    failed: list[str] = []

    async def work(number: int, mode: str) -> None:
        async with Client(f"{open_server.url}/mcp", mode=mode) as mine:
            for turn in range(each):
                text = f"Client {number} notes turn {turn} of the lockstep crowd."
                stored = await mine.call_tool("store", {"text": text, "thread": f"crowd {number}"})
                assert not stored.is_error, stored
                recall = {"query": text, "thread": f"crowd {number}", "limit": 20}
                found = await mine.call_tool("recall", recall)
                hits = (found.structured_content or {}).get("hits", [])
                if text not in [hit["text"] for hit in hits]:
                    failed.append(text)

    async def crowd() -> None:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(work, number, MODES[number % 2])

    anyio.run(crowd)
    assert not failed
    kept = [json.loads(line)["text"] for line in open_server.caller().export().splitlines()]
    wanted = {
        f"Client {number} notes turn {turn} of the lockstep crowd." for number in range(20) for turn in range(each)
    }
    assert sorted(text for text in kept if "lockstep crowd" in text) == sorted(wanted)


def test_clients_that_leave_in_mid_call_leave_nothing_behind(open_server: HttpServer, mode: str) -> None:
    async def leave(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            async with Client(f"{open_server.url}/mcp", mode=mode) as mine:
                while True:
                    await mine.call_tool("recall", {"query": f"the wombat after {seconds}"})

    async def crowd() -> None:
        async with anyio.create_task_group() as group:
            for turn in range(20):
                group.start_soon(leave, 0.02 + 0.02 * turn)

    anyio.run(crowd)
    metrics = open_server.caller()
    wait_until(lambda: "soma_requests_at_work 1.0" in metrics.ask("GET", "/metrics").text, what="the end of all calls")
    assert "Traceback" not in open_server.log


def test_a_call_that_takes_long_reports_progress_to_who_asks(tmp_path: Path, mode: str) -> None:
    """The call waits for the owner of the folder, which is stopped meanwhile."""
    home = tmp_path / "home"
    with server(home) as owner:
        owner.handshake()
        with http_server(home) as follower, connected(follower.url, mode) as asking:
            asking.ok("store", text="before")
            told = _progress_of_a_slow_forget(asking, owner)
    assert [step for step, _ in told][:2] == [1, 2]
    assert {words for _, words in told} == {"at work"}


def _progress_of_a_slow_forget(asking: McpClient, owner: Server) -> list[tuple[float, str | None]]:
    told: list[tuple[float, str | None]] = []

    async def slow() -> CallToolResult:
        async def tell(progress: float, total: float | None, message: str | None) -> None:
            assert total is None
            told.append((progress, message))
            if len(told) == 2:
                owner.process.send_signal(signal.SIGCONT)

        arguments = {"before": "2999-01-01", "purge": True}
        with anyio.fail_after(PATIENCE):
            found: CallToolResult = await asking._client.call_tool("forget", arguments, progress_callback=tell)
            return found

    owner.process.send_signal(signal.SIGSTOP)
    try:
        result = asking._portal.call(slow)
    finally:
        owner.process.send_signal(signal.SIGCONT)
    assert result.structured_content is not None
    assert result.structured_content["count"] == 1
    return told


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Tokens by what they are for, and the address of the server that takes them."""
    home = tmp_path_factory.mktemp("tokens") / "home"
    shell = Shell(home)

    def make(namespace: str, scopes: str) -> str:
        token = shell.json("token", "create", "--namespace", namespace, "--scopes", scopes)["token"]
        return str(token)

    made = {name: make(name, "read,write") for name in ("left", "right")}
    made |= {"reader": make("left", "read"), "writer": make("left", "write")}
    with http_server(home) as found:
        yield made | {"url": found.url}


def test_two_clients_at_once_each_see_only_the_namespace_of_their_token(tokens: dict[str, str], mode: str) -> None:
    url = tokens["url"]
    with connected(url, mode, tokens["left"]) as left, connected(url, mode, tokens["right"]) as right:
        mine, theirs = left.ok("store", text="Left hides the key."), right.ok("store", text="Right hides the key.")
        assert left.ok("status")["namespace"] == "left"
        assert right.ok("status")["namespace"] == "right"
        for client, own, foreign, word, other in (
            (left, mine, theirs, "Left", "Right"),
            (right, theirs, mine, "Right", "Left"),
        ):
            found = client.texts("who hides the key", limit=20)
            assert f"{word} hides the key." in found
            assert other not in str(found)
            assert client.ok("get", ids=[own["id"]])["memories"]
            assert client.refused("get", ids=[foreign["id"]])["code"] == "not_found"
            assert client.refused("forget", ids=[foreign["id"]])["code"] == "not_found"
            assert word in client.read("memory://recent")
            assert other not in client.read("memory://recent")
        assert left.ok("get", ids=[mine["id"]])["memories"]


def test_a_tool_that_needs_a_scope_that_the_token_lacks_answers_forbidden(tokens: dict[str, str], mode: str) -> None:
    with connected(tokens["url"], mode, tokens["reader"]) as reader:
        assert reader.refused("store", text="Readers write.")["code"] == "forbidden"
        assert reader.refused("forget", thread="any")["code"] == "forbidden"
        assert "Readers write." not in reader.texts("Readers write.")
        assert reader.ok("status")["namespace"] == "left"
    with connected(tokens["url"], mode, tokens["writer"]) as writer:
        assert writer.refused("recall", query="anything")["code"] == "forbidden"
        assert writer.refused("get", ids=["0123456789ab"])["code"] == "forbidden"
        assert writer.ok("store", text="Writers write.")["status"] == "created"


@pytest.mark.parametrize("token", [None, "soma_not_a_token", "x" * 5_000])
def test_without_a_good_token_nothing_is_answered_but_401(tokens: dict[str, str], mode: str, token: str | None) -> None:
    caller = Caller(tokens["url"], token)
    answer = caller.ask("POST", "/mcp", call("status"), headers=JSON | {"Accept": "application/json"})
    caller.close()
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert ("invalid_token" in answer.headers["www-authenticate"]) == (token is not None)
    assert http_error_of(answer)["code"] == "unauthenticated"
    with pytest.raises(ExceptionGroup) as raised, connected(tokens["url"], mode, token):
        pass
    assert raised.value.subgroup(MCPError)


def test_the_token_of_the_settings_opens_the_namespace_of_the_server(tmp_path: Path, mode: str) -> None:
    settings = {"SOMA_API_TOKEN": "0123456789abcdef-secret", "SOMA_MEMORY_NAMESPACE": "house"}
    with http_server(tmp_path / "home", **settings) as found:
        with connected(found.url, mode, settings["SOMA_API_TOKEN"]) as client:
            assert client.ok("store", text="With the token of the house.")["status"] == "created"
            assert client.ok("status")["namespace"] == "house"
        wrong = found.caller("0123456789abcdef-secrex")
        answer = wrong.ask("POST", "/mcp", call("status"), headers=JSON | {"Accept": "application/json"})
        assert answer.status_code == 401
        assert settings["SOMA_API_TOKEN"] not in found.log


def signed(key: rsa.RSAPrivateKey = KEY, **changed: Any) -> str:
    """A JWT with good claims but for those that are changed."""
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, "sub": "ana", "scope": "read write",
        "soma_namespace": "team",
    }  # fmt: skip
    return jwt.encode(claims | changed, key, "RS256", headers={"kid": "one"})


@pytest.fixture(scope="module")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server that takes the JWTs of an issuer whose keys are published on loopback."""
    published = RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "one", "use": "sig"}
    with key_server([published]) as keys:
        settings = {
            "SOMA_OAUTH_ISSUER": ISSUER,
            "SOMA_OAUTH_AUDIENCE": AUDIENCE,
            "SOMA_OAUTH_JWKS_URL": keys.url,
            "SOMA_OAUTH_NAMESPACE_CLAIM": "soma_namespace",
        }
        with http_server(tmp_path_factory.mktemp("oauth") / "home", **settings) as found:
            yield found


def test_a_good_jwt_works_in_the_namespace_that_it_names(oauth: HttpServer, mode: str) -> None:
    with connected(oauth.url, mode, signed()) as client:
        assert client.ok("store", text="The team meets at nine.")["id"]
        assert client.ok("status")["namespace"] == "team"
        assert client.texts("when does the team meet")
    with connected(oauth.url, mode, signed(soma_namespace="other")) as stranger:
        assert not stranger.texts("when does the team meet")
    with connected(oauth.url, mode, signed(scope="openid read")) as reader:
        assert reader.refused("store", text="Not allowed.")["code"] == "forbidden"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: signed(aud="https://other.example/mcp"), id="for another audience"),
        pytest.param(lambda: signed(exp=int(time.time()) - 60), id="expired"),
        pytest.param(lambda: signed(iss="https://other.example"), id="of another issuer"),
        pytest.param(lambda: signed(STRANGER), id="signed by another key"),
        pytest.param(lambda: signed(soma_namespace=None), id="without a namespace"),
        pytest.param(lambda: jwt.encode({"aud": AUDIENCE}, "", "none"), id="not signed"),
    ],
)
def test_a_jwt_that_is_not_good_here_gets_401(oauth: HttpServer, token: Any) -> None:
    answer = oauth.caller(token()).ask("POST", "/mcp", call("status"), headers=JSON | {"Accept": "application/json"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_the_401_names_where_the_metadata_of_the_resource_is(oauth: HttpServer) -> None:
    answer = oauth.caller().ask("POST", "/mcp", call("status"), headers=JSON | {"Accept": "application/json"})
    assert answer.status_code == 401
    _, found, rest = answer.headers["www-authenticate"].partition('resource_metadata="')
    assert found, answer.headers["www-authenticate"]
    metadata = httpx2.get(rest.partition('"')[0], trust_env=False)
    assert metadata.status_code == 200
    assert metadata.json()["resource"] == f"{oauth.url}/mcp"
    assert metadata.json()["authorization_servers"] == [ISSUER]


def test_a_call_without_the_scope_is_answered_as_an_error_of_the_tool(oauth: HttpServer) -> None:
    caller = oauth.caller(signed(scope="write"))
    answer = caller.ask("POST", "/mcp", call("recall", query="x"), headers=JSON | {"Accept": "application/json"})
    assert error_of(result_of(answer))["code"] == "forbidden"
