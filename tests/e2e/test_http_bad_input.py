"""Bad requests to every route: one shape of error, the field as the caller knows it, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.http_server import Caller, error_of, http_server
from tests.support import queries

UNKNOWN = "1f0a7c11-d3e2-4b5f-8a60-2f6f0e6f7c01"
POSTS = (
    "/store", "/store_bulk", "/recall", "/recall_batch", "/recall_with_scores", "/hybrid_recall_with_scores",
    "/recall_with_context", "/keyword_search", "/forget",
)  # fmt: skip
GETS = (
    "/recall", "/range", "/stats", "/memories", f"/memories/{UNKNOWN}", "/export", "/healthz", "/readyz", "/health",
    "/metrics", "/",
)  # fmt: skip
QUESTIONS: dict[str, dict[str, Any]] = {
    "/recall": {"query": "x"},
    "/recall_batch": {"queries": ["x"]},
    "/recall_with_scores": {"query": "x"},
    "/hybrid_recall_with_scores": {"query": "x"},
    "/recall_with_context": {"query": "x", "context": "y"},
}
LONG = 65_537


@pytest.fixture(scope="module")
def open_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with http_server(tmp_path_factory.mktemp("bad") / "home") as running:
        caller = running.caller()
        caller.store("the one memory", coord="1,2,3", thread="t", tags=["x"])
        caller.until_embedded()
        yield caller
        assert "Traceback" not in running.log


@pytest.fixture
def api(open_api: Caller) -> Iterator[Caller]:
    """A caller whose memory must be the same after the test."""
    before = open_api.export(), open_api.get("/stats")
    yield open_api
    assert (open_api.export(), open_api.get("/stats")) == before


def nested(levels: int) -> dict[str, Any]:
    """Objects in objects, so many of them."""
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


def check(error: dict[str, Any], *fields: str, code: str = "invalid_input") -> None:
    assert error["code"] == code, error
    assert tuple(error["fields"]) == fields, error
    if fields:
        assert error["message"].startswith((f"{fields[-1]}", f"{fields[0]}")), error


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body", [b"", b"{bad", b'{"text": "x"', b"\xff\xfe", b"[" * 100_000, b"null", b"5", b'"x"', b"[]"]
)
def test_a_body_that_is_no_json_object_is_refused(api: Caller, path: str, body: bytes) -> None:
    answer = api.ask("POST", path, body)
    assert answer.status_code in (400, 422)
    check(error_of(answer), "body")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
def test_a_body_of_another_content_type_is_refused_and_told_which_to_use(api: Caller, path: str, kind: str) -> None:
    error = api.refused(422, "POST", path, b'{"text":"x","query":"x"}', headers={"Content-Type": kind})
    check(error, "body")
    assert "Content-Type: application/json" in error["message"]


STORE: list[tuple[Any, str]] = [
    ({}, "payload"),
    ({"payload": {}}, "payload"),
    ({"payload": {"n": 1}}, "payload"),
    ({"payload": {"text": " \n"}}, "payload"),
    ({"payload": "x"}, "payload"),
    ({"payload": ["x"]}, "payload"),
    ({"text": 5}, "text"),
    ({"text": ""}, "text"),
    ({"text": "x" * LONG}, "text"),
    ({"text": "\0"}, "text"),
    ({"text": "\ud800"}, "text"),
    ({"payload": {"text": "\ud800"}}, "payload.text"),
    ({"payload": {"content": "x\0"}}, "payload.content"),
    ({"payload": {"content": "x" * LONG}}, "payload.content"),
    ({"payload": {"a": "x" * 40_000, "b": "x" * 40_000}}, "payload"),
    ({"text": "x", "payload": {"a": "x" * LONG}}, "payload"),
    ({"text": "x", "payload": {"a": "\ud800"}}, "payload.a"),
    ({"text": "x", "payload": {"\ud800": 1}}, "payload key"),
    ({"text": "x", "payload": {"a": float("nan")}}, "payload.a"),
    ({"text": "x", "payload": {"a": float("inf")}}, "payload.a"),
    ({"text": "x", "payload": {"a": 1 << 64}}, "payload.a"),
    ({"text": "x", "payload": nested(40)}, "payload"),
    ({"text": "x", "type": "epic"}, "type"),
    ({"text": "x", "type": 1}, "type"),
    ({"text": "x", "type": "\ud800"}, "type"),
    ({"text": "x", "tags": "a"}, "tags"),
    ({"text": "x", "tags": ["a", 1]}, "tags[1]"),
    ({"text": "x", "tags": ["a", ""]}, "tags[1]"),
    ({"text": "x", "tags": ["\ud800"]}, "tags[0]"),
    ({"text": "x", "tags": ["a"] * 65}, "tags"),
    ({"text": "x", "thread": ""}, "thread"),
    ({"text": "x", "thread": "\0"}, "thread"),
    ({"text": "x", "speaker": "x" * 257}, "speaker"),
    ({"text": "x", "speaker": 5}, "speaker"),
    ({"text": "x", "occurred_at": "yesterday"}, "occurred_at"),
    ({"text": "x", "occurred_at": 5}, "occurred_at"),
    ({"text": "x", "importance": 1.1}, "importance"),
    ({"text": "x", "importance": -1}, "importance"),
    ({"text": "x", "importance": "1"}, "importance"),
    ({"text": "x", "importance": True}, "importance"),
    ({"text": "x", "importance": float("nan")}, "importance"),
    ({"text": "x", "coord": 5}, "coord"),
    ({"text": "x", "coord": [1, 2]}, "coord"),
]
COORDS = ["", " ", "1,,2", ",", "nan,0,0", "inf", "-inf,1", "1;2", "a,b", "1," * 8 + "1", "\0", "1e999"]


@pytest.mark.parametrize(("body", "field"), STORE)
def test_a_wrong_field_of_a_memory_is_named(api: Caller, body: dict[str, Any], field: str) -> None:
    check(api.refused(422, "POST", "/store", json.dumps(body).encode()), field)
    bulk = {"items": [{"text": "fine"}, body]}
    check(api.refused(422, "POST", "/store_bulk", json.dumps(bulk).encode()), f"items[1].{field}")


@pytest.mark.parametrize("coord", COORDS)
def test_what_is_no_coordinate_is_refused(api: Caller, coord: str) -> None:
    check(api.refused(422, "POST", "/store", {"text": "x", "coord": coord}), "coord", code="bad_coordinate")
    error = api.refused(422, "POST", "/store_bulk", {"items": [{"text": "x", "coord": coord}]})
    check(error, "items[0].coord", code="bad_coordinate")
    for low, high, field in ((coord, "1,1", "min"), ("1,1", coord, "max")):
        error = api.refused(422, "GET", "/range", params={"min": low, "max": high})
        check(error, field, code="bad_coordinate")


BODIES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("/store", {"text": "x", "key": ""}, ("key",)),
    ("/store", {"text": "x", "key": "x" * 257}, ("key",)),
    ("/store", {"text": "x", "key": 5}, ("key",)),
    ("/store", {"text": "x", "check": "yes"}, ("check",)),
    ("/store_bulk", {}, ("items",)),
    ("/store_bulk", {"items": {}}, ("items",)),
    ("/store_bulk", {"items": [5]}, ("items[0]",)),
    ("/store_bulk", {"items": [{"text": "x"}] * 1_001}, ("items",)),
    ("/store_bulk", {"items": [{"text": "x"}], "partial": 1}, ("partial",)),
    ("/store_bulk", {"items": [{"text": "x"}], "key": "\ud800"}, ("key",)),
    ("/recall", {}, ("query",)),
    ("/recall", {"query": "x", "order": "size"}, ("order",)),
    ("/recall", {"query": "x", "max_tokens": 0}, ("max_tokens",)),
    ("/recall", {"query": "x", "max_tokens": 100_001}, ("max_tokens",)),
    ("/recall", {"query": "x", "hybrid": "no"}, ("hybrid",)),
    ("/recall", {"query": "x" * 1_000_001}, ("query",)),
    ("/recall_batch", {}, ("queries",)),
    ("/recall_batch", {"queries": []}, ("queries",)),
    ("/recall_batch", {"queries": "x"}, ("queries",)),
    ("/recall_batch", {"queries": ["x"] * 33}, ("queries",)),
    ("/recall_batch", {"queries": ["x", ""]}, ("queries[1]",)),
    ("/recall_batch", {"queries": ["x", 5]}, ("queries[1]",)),
    ("/recall_batch", {"queries": ["\0"]}, ("queries[0]",)),
    ("/hybrid_recall_with_scores", {"query": "x", "terms": "x"}, ("terms",)),
    ("/hybrid_recall_with_scores", {"query": "x", "terms": ["x"] * 65}, ("terms",)),
    ("/hybrid_recall_with_scores", {"query": "x", "terms": [""]}, ("terms[0]",)),
    ("/hybrid_recall_with_scores", {"query": "x", "terms": ["x" * 257]}, ("terms[0]",)),
    ("/hybrid_recall_with_scores", {"query": "x", "boost": -1}, ("boost",)),
    ("/hybrid_recall_with_scores", {"query": "x", "boost": 101}, ("boost",)),
    ("/hybrid_recall_with_scores", {"query": "x", "boost": float("nan")}, ("boost",)),
    ("/hybrid_recall_with_scores", {"query": "x", "exact": 1}, ("exact",)),
    ("/hybrid_recall_with_scores", {"query": "x", "case_sensitive": None}, ("case_sensitive",)),
    ("/recall_with_context", {"query": "x"}, ("context",)),
    ("/recall_with_context", {"query": "x", "context": 5}, ("context",)),
    ("/recall_with_context", {"query": "x", "context": None}, ("context",)),
    ("/recall_with_context", {"query": "x", "context": ["a"]}, ("context",)),
    ("/recall_with_context", {"query": "x", "context": {"a": "\ud800"}}, ("context",)),
    ("/recall_with_context", {"query": "x", "context": "\0"}, ("context",)),
    ("/keyword_search", {}, ("term",)),
    ("/keyword_search", {"term": ""}, ("term",)),
    ("/keyword_search", {"term": 5}, ("term",)),
    ("/keyword_search", {"term": "\0"}, ("term",)),
    ("/keyword_search", {"term": "x" * 257}, ("term",)),
    ("/keyword_search", {"term": "x", "top_k": 0}, ("top_k",)),
    ("/keyword_search", {"term": "x", "top_k": 101}, ("top_k",)),
    ("/keyword_search", {"term": "x", "type": "epic"}, ("type",)),
    ("/keyword_search", {"term": "x", "exact": "no"}, ("exact",)),
    ("/forget", {}, ("ids",)),
    ("/forget", {"tags": []}, ("ids",)),
    ("/forget", {"ids": []}, ("ids",)),
    ("/forget", {"ids": "x"}, ("ids",)),
    ("/forget", {"ids": ["x"]}, ("ids[0]",)),
    ("/forget", {"ids": [5]}, ("ids[0]",)),
    ("/forget", {"ids": ["\ud800"]}, ("ids[0]",)),
    ("/forget", {"ids": [UNKNOWN] * 1_001}, ("ids",)),
    ("/forget", {"ids": [UNKNOWN], "thread": "t"}, ("ids",)),
    ("/forget", {"thread": "t", "purge": "yes"}, ("purge",)),
    ("/forget", {"thread": "t", "dry_run": 1}, ("dry_run",)),
    ("/forget", {"thread": ""}, ("thread",)),
    ("/forget", {"tags": ["x", ""]}, ("tags[1]",)),
    ("/forget", {"before": "then"}, ("before",)),
    ("/forget", {"thread": "t", "reason": "\0"}, ("reason",)),
    ("/forget", {"thread": "t", "key": " "}, ("key",)),
]


@pytest.mark.parametrize(("path", "body", "fields"), BODIES)
def test_a_wrong_field_of_a_body_is_named(api: Caller, path: str, body: Any, fields: tuple[str, ...]) -> None:
    check(api.refused(422, "POST", path, json.dumps(body).encode()), *fields)


COMMON: list[tuple[dict[str, Any], str]] = [
    ({"top_k": 0}, "top_k"),
    ({"top_k": 101}, "top_k"),
    ({"top_k": "5"}, "top_k"),
    ({"top_k": 2.5}, "top_k"),
    ({"top_k": None}, "top_k"),
    ({"top_k": True}, "top_k"),
    ({"type": "epic"}, "type"),
    ({"filters": []}, "filters"),
    ({"filters": "x"}, "filters"),
    ({"filters": 5}, "filters"),
    ({"filters": nested(9)}, "filters"),
    ({"filters": nested(400)}, "filters"),
    ({"filters": {"a": [[[[[[[[1]]]]]]]]}}, "filters"),
    ({"filters": {str(n): n for n in range(65)}}, "filters"),
    ({"filters": {"types": ["epic"]}}, "filters.types[0]"),
    ({"filters": {"types": "semantic"}}, "filters.types"),
    ({"filters": {"tags": "x"}}, "filters.tags"),
    ({"filters": {"tags": [5]}}, "filters.tags[0]"),
    ({"filters": {"thread": 5}}, "filters.thread"),
    ({"filters": {"speaker": ""}}, "filters.speaker"),
    ({"filters": {"since": "then"}}, "filters.since"),
    ({"filters": {"until": {}}}, "filters.until"),
    ({"filters": {"a": "\ud800"}}, "filters.a"),
    ({"filters": {"a": float("nan")}}, "filters.a"),
    ({"filters": {"\0": 1}}, "filters key"),
    ({"fold": "yes"}, "fold"),
    ({"since_cursor": ""}, "since_cursor"),
    ({"since_cursor": "nonsense"}, "since_cursor"),
    ({"since_cursor": "AAAAAAAA"}, "since_cursor"),
    ({"since_cursor": 5}, "since_cursor"),
]


@pytest.mark.parametrize("path", QUESTIONS)
def test_what_every_recall_takes_is_checked_in_every_recall(api: Caller, path: str) -> None:
    for wrong, field in COMMON:
        check(api.refused(422, "POST", path, json.dumps(QUESTIONS[path] | wrong).encode()), field)
    if "query" in QUESTIONS[path]:
        for query in ("", " ", "\0", "\ud800", 5, None, ["x"]):
            check(api.refused(422, "POST", path, json.dumps(QUESTIONS[path] | {"query": query}).encode()), "query")


def test_an_odd_question_is_answered_by_every_recall(api: Caller) -> None:
    for path in QUESTIONS:
        for query in (*queries.ODD.values(), queries.LONG):
            asked = QUESTIONS[path] | ({"query": query} if "query" in QUESTIONS[path] else {"queries": [query]})
            assert isinstance(api.post(path, asked)["degraded"], list)
    assert "query: only its first 2000 words were used" in api.post("/recall", {"query": queries.LONG})["degraded"]
    (match,) = api.post("/recall", {"query": "; DROP TABLE memory --"})["matches"]
    assert match["text"] == "the one memory"


def test_filters_as_deep_as_allowed_are_taken(api: Caller) -> None:
    assert api.post("/recall", {"query": "x", "filters": nested(8)})["matches"] == []


ADDRESSES: list[tuple[str, tuple[str, ...]]] = [
    ("/recall", ("query",)),
    ("/recall?query=", ("query",)),
    ("/recall?query=%00", ("query",)),
    ("/recall?query=x&top_k=0", ("top_k",)),
    ("/recall?query=x&top_k=101", ("top_k",)),
    ("/recall?query=x&top_k=many", ("top_k",)),
    ("/recall?query=x&type=epic", ("type",)),
    ("/recall?query=x&hybrid=perhaps", ("hybrid",)),
    ("/recall?query=x&since_cursor=", ("since_cursor",)),
    ("/recall?query=x&since_cursor=AAAAAAAA", ("since_cursor",)),
    ("/recall?query=x&filters=", ("filters",)),
    ("/recall?query=x&filters=%7Bbad", ("filters",)),
    ("/recall?query=x&filters=[]", ("filters",)),
    ("/recall?query=x&filters=5", ("filters",)),
    ("/recall?query=x&filters=" + "[" * 30_000, ("filters",)),
    ("/recall?query=x&filters=" + "9" * 5_000, ("filters",)),
    ("/recall?query=x&filters=" + quote(json.dumps(nested(9))), ("filters",)),
    ("/recall?query=x&filters=" + quote('{"a":"\\ud800"}'), ("filters.a",)),
    ("/recall?query=x&filters=" + quote('{"since":"then"}'), ("filters.since",)),
    ("/range", ("min",)),
    ("/range?min=1", ("max",)),
    ("/range?min=1,2&max=1,2,3", ("min", "max")),
    ("/range?min=1&max=2&type=epic", ("type",)),
    ("/range?min=1&max=2&limit=0", ("limit",)),
    ("/range?min=1&max=2&limit=1001", ("limit",)),
    ("/range?min=1&max=2&limit=x", ("limit",)),
    ("/memories/x", ("id",)),
    ("/memories/%00", ("id",)),
    ("/memories/%ff", ("id",)),
    ("/memories/" + "x" * 65, ("id",)),
    ("/memories?ids=", ("ids",)),
    ("/memories?ids=x", ("ids[0]",)),
    (f"/memories?ids={UNKNOWN},", ()),
    ("/memories?types=epic", ("types[0]",)),
    ("/memories?tags=%00", ("tags[0]",)),
    ("/memories?thread=", ("thread",)),
    ("/memories?speaker=" + "x" * 257, ("speaker",)),
    ("/memories?since=then", ("since",)),
    ("/memories?since=2026-01-02&until=2026-01-01", ("since", "until")),
    ("/memories?order=random", ("order",)),
    ("/memories?limit=0", ("limit",)),
    ("/memories?limit=101", ("limit",)),
    ("/memories?cursor=x", ("cursor",)),
    ("/memories?cursor=", ("cursor",)),
    ("/memories?cursor=99999999999999999999.00", ("cursor",)),
]


@pytest.mark.parametrize(("address", "fields"), ADDRESSES)
def test_a_wrong_field_of_an_address_is_named(api: Caller, address: str, fields: tuple[str, ...]) -> None:
    if fields:
        check(api.refused(422, "GET", address), *fields)
    else:
        check(api.refused(404, "GET", address), "ids", code="not_found")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", f"/memories/{UNKNOWN}", None, "id"),
        ("GET", "/memories/0123456789ab", None, "id"),
        ("DELETE", f"/memories/{UNKNOWN}", None, "id"),
        ("DELETE", "/memories/0123456789ab?purge=true", None, "id"),
        ("GET", f"/memories?ids={UNKNOWN}", None, "ids"),
        ("POST", "/forget", {"ids": [UNKNOWN]}, "ids"),
    ],
)
def test_an_unknown_id_is_not_found(api: Caller, method: str, path: str, body: Any, field: str) -> None:
    check(api.refused(404, method, path, body), field, code="not_found")


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/memories/x", "id"),
        ("/memories/0123456789ab?purge=perhaps", "purge"),
        ("/memories/0123456789ab?reason=%00", "reason"),
        ("/memories/0123456789ab?reason=", "reason"),
    ],
)
def test_a_wrong_deletion_is_refused(api: Caller, address: str, field: str) -> None:
    check(api.refused(422, "DELETE", address), field)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (b"{bad", "line 1"),
        (b'{"text":"x"}\n{"text":"\\ud800"}', "line 2"),
        (b'{"text":"x"}\n\n5', "line 3"),
        (b"[" * 100_000, "line 1"),
        (b'{"text":"' + b"x" * LONG + b'"}', "line 1"),
        (b'{"text":"x","n":' + b"9" * 5_000 + b"}", "line 1"),
        (b'{"text":"x"}\n{"\\ud800":1}', "line 2"),
        (b"\x00", "line 1"),
        (b"x" * (2 << 20), "line 1"),
    ],
)
def test_a_wrong_line_of_an_import_is_named(api: Caller, lines: bytes, field: str) -> None:
    error = api.refused(422, "POST", "/import", lines)
    assert error["fields"] == [field]
    assert len(error["message"]) < 2_000


@pytest.mark.parametrize(
    ("address", "field"), [("/import?partial=perhaps", "partial"), ("/import?key=", "key"), ("/import?key=%00", "key")]
)
def test_a_wrong_option_of_an_import_is_named(api: Caller, address: str, field: str) -> None:
    check(api.refused(422, "POST", address, b'{"text":"x"}'), field)


@pytest.mark.parametrize("key", ["x" * 257, ""])
def test_a_wrong_idempotency_key_is_refused(api: Caller, key: str) -> None:
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    check(api.refused(422, "POST", "/store", b'{"text":"x"}', headers=headers), "key")


@pytest.mark.parametrize("path", ["/nope", "/store/x", "/memories/a/b", "/%00", "/mcp/x", "/memories/x/../../etc"])
def test_an_unknown_path_is_not_found(api: Caller, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        check(api.refused(404, method, path), code="not_found")


@pytest.mark.parametrize("path", sorted({*POSTS, *GETS, "/import", "/mcp"}))
def test_another_method_is_not_allowed(api: Caller, path: str) -> None:
    for method in ("PUT", "PATCH", "OPTIONS"):
        answer = api.ask(method, path, b"{}")
        assert answer.status_code == 405
        check(error_of(answer), code="method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) <= {"GET", "POST", "DELETE", "HEAD"}


def test_a_get_of_mcp_does_not_hang(api: Caller) -> None:
    answer = api.ask("GET", "/mcp", headers={"Accept": "text/event-stream"}, timeout=5)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_context_of_many_values_does_not_hold_up_the_server(api: Caller) -> None:
    context = b'{"a":[' + b",".join([b"0"] * 400_000) + b"]}"
    assert api.ask("POST", "/recall_with_context", b'{"query":"x","context":' + context + b"}", timeout=4).is_success


def test_unknown_fields_are_passed_over(api: Caller) -> None:
    assert api.post("/recall", {"query": "the one memory", "colour": "red"})["matches"]
    assert api.ask("GET", "/recall?query=x&colour=red").is_success


def test_the_request_id_of_the_caller_is_in_the_error(api: Caller) -> None:
    error = api.refused(422, "POST", "/recall", {}, headers={"X-Request-ID": "mine-7"})
    assert error["request_id"] == "mine-7"
