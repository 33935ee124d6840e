"""Who is let through, over a real socket: tokens of the settings and the store, and callers without any."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from soma_core.domain.errors import Forbidden, InvalidInput
from soma_core.domain.memory import Scope
from soma_core.settings import Settings, load_settings
from soma_mcp.http.auth import (
    Authenticated,
    check_exposure,
    current_principal,
    metadata_routes,
    require,
    usable_tokens,
)
from soma_mcp.http.errors import as_http
from soma_mcp.sharing import SharedSoma
from tests.support.http import serving

API_TOKEN = "a-token-of-the-settings"
OAUTH = {"oauth_issuer": "https://issuer.example", "oauth_jwks_url": "https://issuer.example/jwks"}
Serve = Callable[..., str]


async def whoami(request: Request) -> JSONResponse:
    principal = request.state.principal
    assert current_principal.get() is principal
    return JSONResponse([principal.namespace, sorted(principal.scopes), principal.caller])


async def public(request: Request) -> JSONResponse:
    return JSONResponse([hasattr(request.state, "principal"), current_principal.get(None) is not None])


def needs(scope: str) -> Route:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(require(request, scope).caller)

    return Route(f"/{scope}", endpoint)


async def refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Forbidden)
    status, body, headers = as_http(error, "r1")
    return JSONResponse(body, status, dict(headers))


def application(settings: Settings, memory: SharedSoma) -> Authenticated:
    routes = [Route(path, whoami) for path in ("/whoami", "/mcp", "/healthz/../whoami")]
    routes += [Route(path, public) for path in ("/", "/healthz", "/metrics")]
    routes += [*map(needs, ("read", "write", "admin")), *metadata_routes(settings)]
    app = Starlette(routes=routes, exception_handlers={Forbidden: refuse})
    return Authenticated(app, settings, memory)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SharedSoma]:
    opened = SharedSoma(load_settings({}, home=tmp_path / "home", disk_reserve="0"), stay=False)
    yield opened
    opened.close()


@pytest.fixture
def serve(memory: SharedSoma, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def serve(**arguments: str) -> str:
            settings = load_settings({}, home=tmp_path / "home", **arguments)
            return stack.enter_context(serving(application(settings, memory)))

        yield serve


def make(memory: SharedSoma, *scopes: str, namespace: str = "team", expires_at: datetime | None = None) -> str:
    return memory.create_token(Scope("api_ns"), namespace, scopes or ("read",), expires_at, None).secret


def get(url: str, secret: str | None = None, **headers: str) -> httpx2.Response:
    bearer = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
    return httpx2.get(url, headers=headers | bearer, verify=False)


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_token_of_the_settings_may_do_everything_in_their_namespace(serve: Serve) -> None:
    url = serve(api_token=API_TOKEN, namespace="mine")
    assert get(f"{url}/whoami", API_TOKEN).json() == ["mine", ["admin", "read", "write"], "api_token"]
    for wrong in (
        API_TOKEN[:-1],
        API_TOKEN + "x",
        API_TOKEN.upper(),
        "é",
        "a.b.c",
        "soma_" + "0" * 12 + "_" + "x" * 43,
    ):
        answer = httpx2.get(f"{url}/whoami", headers=[(b"Authorization", f"Bearer {wrong}".encode("latin-1"))])
        assert code(answer) == (401, "unauthenticated"), wrong
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_a_stored_token_is_bound_to_its_namespace_and_scopes(serve: Serve, memory: SharedSoma) -> None:
    url = serve()
    secret = make(memory, "write")
    for _ in range(2):
        assert get(f"{url}/whoami", secret).json() == ["team", ["write"], f"token:{secret[5:17]}"]
    assert get(f"{url}/write", secret).status_code == 200
    refused = get(f"{url}/read", secret)
    assert code(refused) == (403, "forbidden")
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="read"'
    assert [get(f"{url}/{scope}", make(memory, "admin")).status_code for scope in ("read", "write", "admin")] == [
        200
    ] * 3


def test_stored_tokens_and_the_token_of_the_settings_are_good_beside_each_other(
    serve: Serve, memory: SharedSoma
) -> None:
    url = serve(api_token=API_TOKEN)
    assert get(f"{url}/whoami", make(memory)).json()[0] == "team"
    assert get(f"{url}/whoami", API_TOKEN).json()[0] == "api_ns"


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ([], "Bearer"),
        ([("Authorization", "Basic " + API_TOKEN)], "Bearer"),
        ([("Authorization", "Bearer")], "Bearer"),
        ([("Authorization", API_TOKEN)], "Bearer"),
        ([("Authorization", f"Bearer {API_TOKEN}")] * 2, 'Bearer error="invalid_token"'),
        ([("Authorization", f"Bearer {API_TOKEN} {API_TOKEN}")], 'Bearer error="invalid_token"'),
        ([("Cookie", f"token={API_TOKEN}")], "Bearer"),
    ],
)
def test_a_token_counts_only_where_it_belongs(serve: Serve, headers: list[tuple[str, str]], challenge: str) -> None:
    url = serve(api_token=API_TOKEN)
    answer = httpx2.get(f"{url}/whoami?token={API_TOKEN}", headers=headers)
    assert code(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == challenge


def test_the_scheme_may_be_written_in_any_case(serve: Serve) -> None:
    url = serve(api_token=API_TOKEN)
    assert get(f"{url}/whoami", Authorization=f"bEARER  {API_TOKEN}").status_code == 200


def test_public_paths_are_open_and_have_no_principal(serve: Serve) -> None:
    url = serve(api_token=API_TOKEN)
    for path in ("", "/", "/healthz", "/metrics"):
        assert get(url + path, "wrong" if path else None).json() == [False, False]


def test_no_spelling_of_a_path_leads_round_the_door(serve: Serve) -> None:
    host = serve(api_token=API_TOKEN).removeprefix("http://")
    for path in (
        "/healthz/../whoami",
        "//whoami",
        "/whoami/",
        "/%77hoami",
        "/healthz%2f..%2fwhoami",
        "/Healthz",
        "/whoami#/",
    ):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == 401, path
        connection.close()


def test_without_any_token_callers_of_this_machine_may_do_everything(serve: Serve) -> None:
    url = serve(namespace="mine")
    for secret in (None, "whatever"):
        assert get(f"{url}/whoami", secret).json() == ["mine", ["admin", "read", "write"], "local"]


def test_the_first_token_takes_effect_while_the_server_runs_and_revoking_it_opens_nothing(
    serve: Serve, memory: SharedSoma
) -> None:
    url = serve()
    assert get(f"{url}/whoami").status_code == 200
    secret = make(memory)
    made = time.monotonic()
    while get(f"{url}/whoami").status_code == 200:
        assert time.monotonic() < made + 2
        time.sleep(0.02)
    assert get(f"{url}/whoami", secret).status_code == 200
    memory.revoke_token(Scope("api_ns"), secret[5:17])
    revoked = time.monotonic()
    while get(f"{url}/whoami", secret).status_code == 200:
        assert time.monotonic() < revoked + 2
        time.sleep(0.02)
    assert {get(f"{url}/whoami", given).status_code for given in (None, secret)} == {401}


def test_a_token_that_was_there_before_is_needed_from_the_first_request_on(serve: Serve, memory: SharedSoma) -> None:
    make(memory)
    url = serve()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: get(f"{url}/whoami").status_code, range(24))) == {401}


def test_a_token_ends_on_time_also_while_it_is_in_use(serve: Serve, memory: SharedSoma) -> None:
    url = serve()
    ends = datetime.now(UTC) + timedelta(seconds=0.6)
    secret = make(memory, expires_at=ends)
    assert get(f"{url}/whoami", secret).status_code == 200
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 0.02)
    assert get(f"{url}/whoami", secret).status_code == 401


def test_a_token_is_needed_where_others_can_reach_the_server_even_if_none_is_left(serve: Serve) -> None:
    assert get(f"{serve(host='0.0.0.0')}/whoami").status_code == 401


def test_when_the_store_cannot_be_read_nobody_is_let_through(serve: Serve, memory: SharedSoma) -> None:
    url = serve()
    secret = make(memory)
    memory.close()
    for given in (None, secret):
        assert code(get(f"{url}/whoami", given)) == (503, "unavailable")


HOSTS = {
    "localhost": 200,
    "LOCALHOST:1": 200,
    "127.0.0.1:99": 200,
    "127.8.8.8": 200,
    "[::1]:9595": 200,
    "soma.internal": 200,
    "Memory.Example:443": 200,
    "evil.example": 403,
    "localhost.evil.example": 403,
    "127.0.0.1.evil.example": 403,
    "evil.example@localhost": 403,
    "192.168.0.1": 403,
    "localhost:evil": 403,
    "": 403,
}


def test_while_no_token_is_needed_the_server_answers_to_known_names_only(serve: Serve) -> None:
    url = serve(allowed_hosts="soma.internal", public_url="https://memory.example/base")
    assert {host: get(f"{url}/whoami", Host=host).status_code for host in HOSTS} == HOSTS
    assert {get(f"{url}/healthz", Host=host).status_code for host in HOSTS} == {200}


ORIGINS = {
    "http://localhost:3000": 200,
    "https://memory.example": 200,
    "https://app.example": 200,
    "https://app.example:444": 403,
    "http://app.example": 403,
    "https://evil.example": 403,
    "https://memory.example.evil.example": 403,
    "chrome-extension://localhost": 403,
    "null": 403,
    "": 403,
}


def test_while_no_token_is_needed_only_pages_of_known_origins_may_call(serve: Serve) -> None:
    url = serve(public_url="https://memory.example", cors_origins="https://app.example")
    assert {origin: get(f"{url}/whoami", Origin=origin).status_code for origin in ORIGINS} == ORIGINS


def test_any_name_can_be_allowed_but_not_with_it_the_pages_of_others(serve: Serve) -> None:
    url = serve(allowed_hosts="*")
    assert get(f"{url}/whoami", Host="soma.lan").status_code == 200
    assert get(f"{url}/whoami", Host="soma.lan", Origin="http://soma.lan").status_code == 200
    assert get(f"{url}/whoami", Host="soma.lan", Origin="http://evil.example").status_code == 403


def test_with_a_token_the_name_does_not_matter(serve: Serve) -> None:
    url = serve(api_token=API_TOKEN)
    assert get(f"{url}/whoami", API_TOKEN, Host="evil.example", Origin="https://evil.example").status_code == 200


def test_a_refusal_names_the_metadata_at_mcp_where_oauth_is_configured(serve: Serve) -> None:
    url = serve(oauth_audience="soma", **OAUTH)
    told = f'resource_metadata="{url}/.well-known/oauth-protected-resource/mcp"'
    assert get(f"{url}/mcp").headers["www-authenticate"] == f"Bearer {told}"
    assert get(f"{url}/mcp", "wrong").headers["www-authenticate"] == f'Bearer error="invalid_token", {told}'
    assert get(f"{url}/whoami").headers["www-authenticate"] == "Bearer"
    assert "evil" not in get(f"{url}/mcp", Host='evil",x="').headers["www-authenticate"]


def test_an_address_of_ipv6_is_named_in_brackets(serve: Serve) -> None:
    url = serve(host="::1", oauth_audience="soma", **OAUTH)
    told = get(f"{url}/mcp", Host='evil",x="').headers["www-authenticate"]
    assert 'resource_metadata="http://[::1]:' in told


def test_the_metadata_tells_where_tokens_come_from(serve: Serve) -> None:
    url = serve(public_url="https://memory.example", **OAUTH)
    for path in ("", "/mcp"):
        assert get(f"{url}/.well-known/oauth-protected-resource{path}").json() == {
            "resource": "https://memory.example/mcp",
            "authorization_servers": ["https://issuer.example"],
            "scopes_supported": ["read", "write", "admin"],
            "bearer_methods_supported": ["header"],
        }


def test_without_oauth_there_is_no_metadata(serve: Serve) -> None:
    url = serve(api_token=API_TOKEN)
    assert code(get(f"{url}/.well-known/oauth-protected-resource/mcp")) == (404, "not_found")
    assert get(f"{url}/mcp").headers["www-authenticate"] == "Bearer"


def test_no_log_holds_a_token(serve: Serve, memory: SharedSoma, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = serve(api_token=API_TOKEN)
    good, gone = make(memory), make(memory)
    memory.revoke_token(Scope("api_ns"), gone[5:17])
    for secret in (API_TOKEN, good, gone, "head.body.signature-of-a-jwt"):
        get(f"{url}/whoami", secret)
    memory.close()
    get(f"{url}/whoami", gone)
    assert not [each for each in (API_TOKEN, good[18:], gone[18:], "signature-of") if each in caplog.text]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_on_a_loopback_address_no_token_is_asked_for(host: str) -> None:
    check_exposure(load_settings({}, host=host), False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "soma.example", "::ffff:8.8.8.8"])
def test_on_another_address_the_server_starts_only_with_a_token(host: str) -> None:
    with pytest.raises(InvalidInput, match=f"UVICORN_HOST: is {host}.*soma token create.*127.0.0.1"):
        check_exposure(load_settings({}, host=host), False)
    check_exposure(load_settings({}, host=host), True)
    check_exposure(load_settings({}, host=host, api_token=API_TOKEN), False)
    check_exposure(load_settings({}, host=host, oauth_audience="soma", **OAUTH), False)


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ({"oauth_issuer": "https://i.example", "public_url": "https://s.example"}, "SOMA_OAUTH_JWKS_URL"),
        ({"oauth_jwks_url": "https://i.example/jwks", "oauth_audience": "soma"}, "SOMA_OAUTH_ISSUER"),
        (OAUTH, "SOMA_OAUTH_AUDIENCE (or SOMA_PUBLIC_URL"),
    ],
)
def test_oauth_by_halves_is_refused_at_the_start(arguments: dict[str, Any], missing: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_exposure(load_settings({}, host="0.0.0.0", **arguments), True)
    assert missing in caught.value.message


def test_only_tokens_that_are_good_now_let_the_server_start(memory: SharedSoma) -> None:
    settings = load_settings({})
    assert not usable_tokens(memory, settings)
    secret = make(memory)
    assert usable_tokens(memory, settings)
    memory.revoke_token(Scope("api_ns"), secret[5:17])
    assert not usable_tokens(memory, settings)
