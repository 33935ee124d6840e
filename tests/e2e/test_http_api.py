"""The whole HTTP API over a real socket: every route, its shapes and what they mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.http_server import Caller, HttpServer, answered, http_server
from tests.support.deployments import WITH_WORKERS, twice

pytestmark = twice(WITH_WORKERS)

MEMORY = {
    "id", "text", "type", "occurred_at", "speaker", "thread", "tags", "version", "recorded_at", "created_at",
    "position", "coordinate", "importance", "payload",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(deployment: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    with http_server(tmp_path_factory.mktemp("api") / "home", SOMA_CORS_ORIGINS="https://app.example") as running:
        yield running


@pytest.fixture(scope="module")
def local(server: HttpServer) -> Caller:
    return server.caller()


@pytest.fixture
def api(local: Caller) -> Caller:
    """A caller whose namespace is empty: what was there is purged."""
    local.post("/forget", {"before": "9999-01-01", "purge": True})
    assert local.export() == ""
    return local


def texts(matches: list[dict[str, Any]]) -> list[str]:
    return [match["memory"]["text"] for match in matches]


def ask(api: Caller, query: str, **options: Any) -> list[str]:
    """The texts of the matches of a recall, best first."""
    return texts(api.post("/recall", {"query": query, **options})["matches"])


def memory(api: Caller, id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/memories/{id}")
    assert set(found) == MEMORY
    return found


# Storing.


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"text": "its own", "payload": {"text": "the payload's"}}, "its own"),
        ({"payload": {"content": "c", "text": "t"}}, "t"),
        ({"payload": {"content": "c", "other": "o"}}, "c"),
        ({"payload": {"text": "  ", "content": "c"}}, "c"),
        ({"payload": {"text": 5, "title": "one", "n": 2, "body": "two", "deep": {"a": "three"}}}, "one\ntwo"),
    ],
)
def test_the_text_is_found_where_the_caller_put_it(api: Caller, item: dict[str, Any], text: str) -> None:
    receipt = api.post("/store", item)
    assert set(receipt) == {"ok", "id", "version", "status", "indexed", "similar"}
    assert (receipt["ok"], receipt["version"], receipt["status"]) == (True, 1, "created")
    found = memory(api, receipt["id"])
    assert found["text"] == text
    assert found["payload"] == item["payload"]
    assert (found["type"], found["coordinate"]) == ("episodic", None)


def test_every_field_of_a_memory_comes_back(api: Caller) -> None:
    item = {
        "payload": {"text": "Ana uses tabs 🦊", "n": 1, "f": 1.5, "none": None, "deep": {"list": [1, {"ü": True}]}},
        "coord": "1, 2.50,-0",
        "type": "semantic",
        "tags": ["style", "ana"],
        "thread": "review",
        "speaker": "Ana",
        "occurred_at": "2026-03-01T10:00:00+02:00",
        "importance": 0.25,
    }
    found = memory(api, api.post("/store", item)["id"])
    assert found["payload"] == item["payload"]
    assert (found["coordinate"], found["occurred_at"]) == ("1,2.5,0", "2026-03-01T08:00:00Z")
    for name in ("type", "tags", "thread", "speaker", "importance"):
        assert found[name] == item[name]
    assert found["position"] == 0


def test_storing_at_a_coordinate_again_revises_the_memory_there(api: Caller) -> None:
    first = api.post("/store", {"text": "old", "coord": "1,2,3"})
    again = api.post("/store", {"text": "old", "coord": "1.0,2,3"})
    assert (again["id"], again["version"], again["status"]) == (first["id"], 1, "unchanged")
    second = api.post("/store", {"text": "new", "coord": "1,2,3"})
    assert (second["id"], second["version"], second["status"]) == (first["id"], 2, "revised")
    assert memory(api, first["id"])["text"] == "new"
    assert ask(api, "new") == ["new"]
    assert ask(api, "old") in ([], ["new"])


@pytest.mark.parametrize("where", ["key", "header"])
def test_the_same_request_is_done_once_and_another_under_its_key_is_refused(api: Caller, where: str) -> None:
    key = str(uuid4())

    def store(text: str) -> Any:
        headers = {"Idempotency-Key": key} if where == "header" else {}
        body = {"text": text} | ({"key": key} if where == "key" else {})
        return api.ask("POST", "/store", body, headers=headers)

    first = answered(store("once"))
    assert answered(store("once"))["id"] == first["id"]
    assert api.get("/stats")["total_memories"] == 1
    refusal = store("twice")
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (409, "conflict")
    assert api.get("/stats")["total_memories"] == 1


def test_keys_hold_for_bulk_stores_imports_and_forgetting(api: Caller) -> None:
    body = {"items": [{"text": "a"}, {"text": "b"}], "key": str(uuid4())}
    assert api.post("/store_bulk", body)["results"] == api.post("/store_bulk", body)["results"]
    assert api.refused(409, "POST", "/store_bulk", body | {"items": [{"text": "c"}]})["code"] == "conflict"
    lines, key = b'{"text":"c"}\n', str(uuid4())
    for _ in range(2):
        assert api.post(f"/import?key={key}", lines) == {"stored": 1, "refused": []}
    assert api.get("/stats")["total_memories"] == 3
    forget = {"ids": [api.store("d")], "key": str(uuid4())}
    assert api.post("/forget", forget) == api.post("/forget", forget)
    assert api.refused(409, "POST", "/forget", forget | {"purge": True})["code"] == "conflict"


def test_check_names_similar_memories_and_does_not_store_the_same_text_twice(api: Caller) -> None:
    first = api.store("Ana prefers tabs over spaces.")
    api.until_embedded()
    same = api.post("/store", {"text": "Ana prefers tabs over spaces.", "check": True})
    assert (same["id"], same["status"]) == (first, "duplicate")
    other = api.post("/store", {"text": "Ana prefers tabs to spaces.", "check": True})
    assert other["status"] == "created"
    assert [(each["id"], each["text"]) for each in other["similar"]] == [(first, "Ana prefers tabs over spaces.")]
    assert 0 < other["similar"][0]["score"] <= 1
    assert api.get("/stats")["total_memories"] == 2


def test_a_bulk_store_is_all_or_nothing(api: Caller) -> None:
    items = [{"text": "a", "coord": "1"}, {"payload": {"content": "b"}, "type": "semantic"}, {"text": "c"}]
    done = api.post("/store_bulk", {"items": items})
    assert done["stored"] == 3
    assert [set(each) for each in done["results"]] == [{"ok", "id", "version", "status", "indexed"}] * 3
    assert [memory(api, each["id"])["text"] for each in done["results"]] == ["a", "b", "c"]
    before = api.export()
    error = api.refused(422, "POST", "/store_bulk", {"items": [{"text": "d"}, {"text": "e", "coord": "1,,2"}]})
    assert (error["code"], error["fields"]) == ("bad_coordinate", ["items[1].coord"])
    assert api.export() == before


def test_a_partial_bulk_store_has_a_result_for_every_item(api: Caller) -> None:
    items = [{"text": "a"}, {"text": ""}, 5, {"text": "b", "tags": [1]}, {"text": "c"}, {}]
    done = api.post("/store_bulk", {"items": items, "partial": True})
    assert done["stored"] == 2
    assert [each["ok"] for each in done["results"]] == [True, False, False, False, True, False]
    refused = [each["error"] for each in done["results"] if not each["ok"]]
    assert [error["fields"] for error in refused] == [
        ["items[1].text"], ["items[2]"], ["items[3].tags[0]"], ["items[5].payload"],
    ]  # fmt: skip
    assert {error["code"] for error in refused} == {"invalid_input"}
    assert [memory(api, done["results"][place]["id"])["text"] for place in (0, 4)] == ["a", "c"]
    assert api.get("/stats")["total_memories"] == 2


# Recall.


@pytest.fixture(scope="module")
def shelf(server: HttpServer) -> Iterator[Caller]:
    """A caller of a second server, whose memories stay as they are."""
    with http_server(server.home.with_name("shelf"), SOMA_MEMORY_NAMESPACE="shelf") as running:
        caller = running.caller()
        for item in SHELF:
            caller.post("/store", item)
        caller.until_embedded()
        yield caller


SHELF: list[dict[str, Any]] = [
    {
        "payload": {"text": "Ana prefers tabs over spaces", "project": {"name": "heron", "year": 2026}, "n": 1},
        "coord": "1,1", "tags": ["style"], "thread": "review", "speaker": "Ana", "occurred_at": "2026-01-01",
    },
    {
        "payload": {"content": "Ben prefers spaces to tabs", "project": {"name": "egret"}, "n": 2},
        "coord": "2,-2", "type": "semantic", "tags": ["style", "ben"], "speaker": "Ben", "occurred_at": "2026-01-02",
    },
    {"text": "The deploy runs at noon", "coord": "3,0.5", "type": "procedural", "occurred_at": "2026-01-03"},
    {"text": "The server DEPLOYED itself at night", "coord": "1,1,1", "occurred_at": "2026-01-04"},
    {"text": "Ärger im Büro: die Straße ist gesperrt", "thread": "news", "occurred_at": "2026-01-05"},
    {"text": "Nothing much happened", "payload": {"id": "mine", "score": "high"}, "occurred_at": "2026-01-06"},
]  # fmt: skip


def test_a_match_is_the_payload_with_id_score_and_coord_and_the_memory(shelf: Caller) -> None:
    answer = shelf.post("/recall", {"query": "Does Ana like tabs or spaces?", "top_k": 3})
    assert set(answer) == {"matches", "degraded", "omitted", "tokens", "relevance", "seen", "cursor"}
    assert answer["degraded"] == []
    assert len(answer["matches"]) == 3
    best = answer["matches"][0]
    assert {name: best[name] for name in SHELF[0]["payload"]} == SHELF[0]["payload"]
    assert set(best) == {*SHELF[0]["payload"], "text", "id", "score", "coord", "memory"}
    assert best["coord"] == "1,1"
    assert set(best["memory"]) == MEMORY | {"parts", "cut"}
    assert best["memory"]["payload"] == SHELF[0]["payload"]
    parts = best["memory"]["parts"]
    assert best["score"] == parts.pop("total") == pytest.approx(sum(parts.values()))
    scores = [match["score"] for match in answer["matches"]]
    assert scores == sorted(scores, reverse=True)


def test_a_payload_does_not_hide_the_id_of_its_memory(shelf: Caller) -> None:
    best = shelf.post("/recall", {"query": "nothing much happened", "top_k": 1})["matches"][0]
    assert best["id"] == best["memory"]["id"]
    assert best["score"] == best["memory"]["parts"]["total"]
    assert best["memory"]["payload"] == {"id": "mine", "score": "high"}


def test_recall_by_address_gives_the_same(shelf: Caller) -> None:
    filters = {"types": ["episodic"], "project": {"name": "heron"}}
    askings: list[dict[str, Any]] = [
        {}, {"top_k": 2}, {"type": "semantic"}, {"filters": filters}, {"hybrid": False}, {"hybrid": True},
        {"recency": False}, {"order": "time"}, {"max_tokens": 20},
    ]  # fmt: skip
    for asked in askings:
        body = {"query": "tabs or spaces?", **asked}
        params = {name: json.dumps(value) if isinstance(value, dict | bool) else value for name, value in body.items()}
        assert shelf.get("/recall", **params) == shelf.post("/recall", body)


def test_top_k_is_five_unless_it_is_given(shelf: Caller) -> None:
    assert len(ask(shelf, "tabs")) == 5
    assert len(ask(shelf, "tabs", top_k=2)) == 2
    assert len(ask(shelf, "tabs", top_k=100)) == len(SHELF)


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"type": "semantic"}, {1}),
        ({"filters": {"types": ["semantic", "procedural"]}}, {1, 2}),
        ({"filters": {"tags": ["style"]}}, {0, 1}),
        ({"filters": {"tags": ["style", "ben"]}}, {1}),
        ({"filters": {"thread": "review"}}, {0}),
        ({"filters": {"speaker": "Ben"}}, {1}),
        ({"filters": {"since": "2026-01-05"}}, {4, 5}),
        ({"filters": {"until": "2026-01-02"}}, {0, 1}),
        ({"filters": {"n": 2}}, {1}),
        ({"filters": {"n": 2.0}}, {1}),
        ({"filters": {"n": "2"}}, set()),
        ({"filters": {"project": {"name": "heron"}}}, {0}),
        ({"filters": {"project": {"name": "heron", "year": 2025}}}, set()),
        ({"filters": {"project": {"name": "heron"}, "tags": ["style"]}}, {0}),
        ({"filters": {"project": {"name": "heron"}, "speaker": "Ben"}}, set()),
        ({"filters": {"no such name": None}}, set()),
        ({"filters": {"thread": None}}, {0, 1, 2, 3, 4, 5}),
        ({"filters": {}}, {0, 1, 2, 3, 4, 5}),
    ],
)
def test_filters_restrict_by_fields_and_by_payload(shelf: Caller, asked: dict[str, Any], numbers: set[int]) -> None:
    wanted = {_text(SHELF[number]) for number in numbers}
    assert set(ask(shelf, "tabs", top_k=100, **asked)) == wanted
    scored = shelf.post("/recall_with_scores", {"query": "tabs", "top_k": 100, **asked})["results"]
    assert set(texts(scored)) == wanted
    lifted = shelf.post("/hybrid_recall_with_scores", {"query": "tabs", "top_k": 100, **asked})["results"]
    assert set(texts(lifted)) == wanted
    batches = shelf.post("/recall_batch", {"queries": ["tabs"], "top_k": 100, **asked})["batches"]
    assert set(texts(batches[0])) == wanted
    around = shelf.post("/recall_with_context", {"query": "tabs", "context": "x", "top_k": 100, **asked})["results"]
    assert set(texts(around)) == wanted


def _text(item: dict[str, Any]) -> str:
    payload = item.get("payload", {})
    return str(item.get("text") or payload.get("text") or payload["content"])


def test_without_hybrid_words_do_not_count(shelf: Caller) -> None:
    both = shelf.post("/recall", {"query": "deploy"})["matches"][0]["memory"]["parts"]
    assert both["lexical"] > 0
    found = shelf.post("/recall", {"query": "deploy", "hybrid": False})["matches"]
    assert {match["memory"]["parts"]["lexical"] for match in found} == {0}
    assert found[0]["memory"]["parts"]["dense"] > 0


def test_the_order_may_be_that_of_time(shelf: Caller) -> None:
    best = shelf.post("/recall", {"query": "tabs", "order": "time", "top_k": 100})["matches"]
    assert texts(best) == [_text(item) for item in SHELF]
    assert texts(best) != ask(shelf, "tabs", top_k=100)
    scored = shelf.post("/recall_with_scores", {"query": "tabs", "order": "time", "top_k": 100})["results"]
    assert texts(scored) == texts(best)


def test_a_budget_of_tokens_leaves_out_what_does_not_fit(shelf: Caller) -> None:
    whole = shelf.post("/recall", {"query": "tabs"})
    assert (len(whole["matches"]), whole["omitted"]) == (5, 0)
    answer = shelf.post("/recall", {"query": "tabs", "max_tokens": 15})
    assert 0 < answer["tokens"] <= 15 < whole["tokens"]
    assert answer["omitted"] == 5 - len(answer["matches"]) > 0


def test_a_second_question_with_the_cursor_brings_only_what_is_new(shelf: Caller) -> None:
    first = shelf.post("/recall", {"query": "tabs", "top_k": 2})
    assert (len(first["matches"]), first["seen"]) == (2, 0)
    second = shelf.post("/recall", {"query": "tabs", "since_cursor": first["cursor"]})
    assert second["seen"] == 2
    assert not set(texts(first["matches"])) & set(texts(second["matches"]))
    assert len(second["matches"]) == len(SHELF) - 2
    third = shelf.get("/recall", query="tabs", since_cursor=second["cursor"])
    assert (third["matches"], third["seen"]) == ([], len(SHELF))
    scored = shelf.post("/recall_with_scores", {"query": "tabs", "since_cursor": first["cursor"]})["results"]
    assert texts(scored) == texts(second["matches"])


def test_what_says_the_same_is_shown_as_one_only_when_that_is_asked_for(api: Caller) -> None:
    for number, text in enumerate(("The owl sleeps", "owl sleeps.", "The owl wakes")):
        api.store(text, coord=f"{number},{number}")
    asked = {"query": "does the owl sleep"}
    assert len(api.post("/recall", asked)["matches"]) == 3
    best, other = api.post("/recall", asked | {"fold": True})["matches"]
    if "alike" not in best["memory"]:
        best, other = other, best
    assert "alike" not in other["memory"]
    (alike,) = best["memory"]["alike"]
    assert set(alike) == {"id", "version", "occurred_at"}
    assert len({best["id"], other["id"], alike["id"]}) == 3


def test_age_counts_unless_it_is_told_not_to(api: Caller) -> None:
    api.store("tabs, not spaces")
    api.until_embedded()
    for path, found in (("/recall", "matches"), ("/recall_with_scores", "results")):
        assert (
            api.post(path, {"query": "tabs"})[found][0]["score"]
            > (api.post(path, {"query": "tabs", "recency": False})[found][0]["score"])
        )
    (match,) = api.get("/recall", query="tabs", recency="false")["matches"]
    assert match["memory"]["parts"]["recency"] == 0


def test_a_text_over_the_budget_is_cut_and_says_so(api: Caller) -> None:
    api.store("tabs " * 200)
    answer = api.post("/recall", {"query": "tabs", "max_tokens": 20})
    assert answer["matches"][0]["memory"]["cut"] is True
    assert len(answer["matches"][0]["memory"]["text"]) < 200


def test_a_batch_answers_each_question_as_alone(shelf: Caller) -> None:
    queries = ["tabs or spaces", "when is the deploy?", "tabs or spaces"]
    batches = shelf.post("/recall_batch", {"queries": queries, "top_k": 2})["batches"]
    assert batches == [shelf.post("/recall", {"query": query, "top_k": 2})["matches"] for query in queries]


def test_recall_with_scores_has_the_payload_apart(shelf: Caller) -> None:
    answer = shelf.post("/recall_with_scores", {"query": "tabs", "top_k": 2})
    assert set(answer) == {"results", "degraded"}
    matches = shelf.post("/recall", {"query": "tabs", "top_k": 2})["matches"]
    for result, match in zip(answer["results"], matches, strict=True):
        assert set(result) == {"payload", "score", "id", "coord", "memory"}
        assert (result["id"], result["score"], result["coord"]) == (match["id"], match["score"], match["coord"])
        assert result["payload"] == {"text": match["text"], **match["memory"]["payload"]}


def lifted(shelf: Caller, **options: Any) -> dict[str, float]:
    """The boosts of a hybrid recall over the whole shelf that are not zero, by text."""
    results = shelf.post("/hybrid_recall_with_scores", {"query": "morning", "top_k": 100, **options})["results"]
    boosts = {result["memory"]["text"]: result["memory"]["parts"]["boosts"] for result in results}
    assert all(result["score"] == result["memory"]["parts"]["total"] for result in results)
    return {text: boost for text, boost in boosts.items() if boost}


def test_terms_lift_the_memories_that_hold_them(shelf: Caller) -> None:
    noon, night, trouble = (SHELF[number]["text"] for number in (2, 3, 4))
    assert lifted(shelf, terms=["deploy"]) == {noon: 2.0}
    assert lifted(shelf, terms=["deploy"], boost=5) == {noon: 5.0}
    assert lifted(shelf, terms=["deploy"], boost=0) == {}
    assert lifted(shelf, terms=["deploy", "itself"], exact=False) == {noon: 1.0, night: 2.0}
    assert lifted(shelf, terms=["deploy"], exact=False, case_sensitive=True) == {noon: 2.0}
    assert lifted(shelf, terms=["ÄRGER"]) == lifted(shelf, terms=["strasse"]) == {trouble: 2.0}
    assert lifted(shelf, terms=["ÄRGER"], case_sensitive=True) == {}
    assert lifted(shelf, terms=[]) == {}
    best = shelf.post("/hybrid_recall_with_scores", {"query": "tabs", "terms": ["noon"], "boost": 9})["results"][0]
    assert best["memory"]["text"] == noon


def test_without_terms_the_longer_words_of_the_query_are_taken(shelf: Caller) -> None:
    noon, night = SHELF[2]["text"], SHELF[3]["text"]
    assert lifted(shelf, query="is it NOON or what") == {noon: 1.0}
    assert lifted(shelf, query="DEPLOYED", case_sensitive=True) == {night: 2.0}
    assert lifted(shelf, query="deployed", case_sensitive=True) == {}


@pytest.mark.parametrize("context", ["deploy", {"about": {"what": ["deploy", 5, None]}}])
def test_the_context_is_searched_for_with_the_query(shelf: Caller, context: Any) -> None:
    answer = shelf.post("/recall_with_context", {"query": "when?", "context": context, "top_k": 2})
    assert set(answer) == {"results", "degraded"}
    assert answer["results"] == shelf.post("/recall", {"query": "when? deploy", "top_k": 2})["matches"]
    assert shelf.post("/recall_with_context", {"query": "tabs", "context": {}})["results"]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"term": "TABS"}, [1, 0]),
        ({"term": "TABS", "case_sensitive": True}, []),
        ({"term": "deploy"}, [2]),
        ({"term": "deploy", "exact": False}, [3, 2]),
        ({"term": "DEPLOY", "exact": False, "case_sensitive": True}, [3]),
        ({"term": "ärger"}, [4]),
        ({"term": "STRASSE"}, [4]),
        ({"term": "ärger", "case_sensitive": True}, []),
        ({"term": "at noon"}, [2]),
        ({"term": "tabs", "top_k": 1}, [1]),
        ({"term": "tabs", "type": "episodic"}, [0]),
        ({"term": "%"}, []),
    ],
)
def test_a_keyword_is_found_as_it_is_written_newest_first(
    shelf: Caller, asked: dict[str, Any], numbers: list[int]
) -> None:
    answer = shelf.post("/keyword_search", asked)
    assert list(answer) == ["results"]
    assert texts(answer["results"]) == [_text(SHELF[number]) for number in numbers]
    assert all(set(match["memory"]) == MEMORY | {"parts", "cut"} for match in answer["results"])


# Places, figures, walks.


@pytest.mark.parametrize(
    ("asked", "coords"),
    [
        ({"min": "1,-2", "max": "3,1"}, [[1, 1], [2, -2], [3, 0.5]]),
        ({"min": "1.01,-5", "max": "3,0.49"}, [[2, -2]]),
        ({"min": "-9,-9", "max": "9,9", "type": "procedural"}, [[3, 0.5]]),
        ({"min": "-9,-9", "max": "9,9", "limit": 2}, [[1, 1], [2, -2]]),
        ({"min": "0,0,0", "max": "1,1,1"}, [[1, 1, 1]]),
        ({"min": "0", "max": "9"}, []),
        ({"min": "9,9", "max": "0,0"}, []),
        ({"min": "-3,-3", "max": "-1,-1"}, []),
    ],
)
def test_a_range_has_the_coordinates_between_two_others(
    shelf: Caller, asked: dict[str, Any], coords: list[list[float]]
) -> None:
    answer = shelf.get("/range", **asked)
    assert set(answer) == {"coords", "memories"}
    assert answer["coords"] == coords
    assert all(set(each) == MEMORY for each in answer["memories"])
    shown = [[float(number) for number in each["coordinate"].split(",")] for each in answer["memories"]]
    assert shown == coords


def test_stats_count_by_type_and_state(api: Caller) -> None:
    before = api.get("/stats")
    api.post("/store_bulk", {"items": [{"text": "a"}, {"text": "b", "type": "semantic"}, {"text": "c"}]})
    api.delete(f"/memories/{api.store('d', type='procedural')}")
    api.delete(f"/memories/{api.store('e')}", purge=True)
    found = api.get("/stats")
    assert set(found) == {
        "total_memories", "episodic", "semantic", "procedural", "forgotten", "purged", "pending", "model", "health",
        "version", "namespace",
    }  # fmt: skip
    assert [found[name] for name in ("total_memories", "episodic", "semantic", "procedural")] == [3, 2, 1, 0]
    assert [found[name] - before[name] for name in ("forgotten", "purged")] == [1, 1]
    assert found["namespace"] == "api_ns"
    api.until_embedded()


def test_memories_are_read_by_id_short_id_and_several_at_once(api: Caller) -> None:
    ids = [api.store(text) for text in ("a", "b", "c")]
    assert memory(api, ids[0][-12:]) == memory(api, ids[0].upper()) == memory(api, ids[0])
    found = api.get("/memories", ids=f"{ids[2]}, {ids[0][-12:]}")
    assert [each["text"] for each in found["memories"]] == ["c", "a"]
    assert found["next_cursor"] is None
    unknown = str(uuid4())
    assert api.refused(404, "GET", f"/memories/{unknown}")["fields"] == ["id"]
    assert api.refused(404, "DELETE", f"/memories/{unknown}")["fields"] == ["id"]
    assert api.refused(404, "GET", f"/memories?ids={ids[0]},{unknown}")["fields"] == ["ids"]
    assert api.refused(404, "POST", "/forget", {"ids": [unknown]})["fields"] == ["ids"]


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_walk_by_cursor_passes_every_memory_once(shelf: Caller, order: str) -> None:
    walked: list[str] = []
    page = shelf.get("/memories", order=order, limit=4)
    while True:
        assert all(set(each) == MEMORY for each in page["memories"])
        walked += [each["text"] for each in page["memories"]]
        if page["next_cursor"] is None:
            break
        page = shelf.get("/memories", order=order, limit=4, cursor=page["next_cursor"])
    by_time = [_text(item) for item in SHELF]
    assert walked == (by_time if order == "oldest" else by_time[::-1])


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"types": ["semantic", "procedural"]}, [2, 1]),
        ({"tags": "style"}, [1, 0]),
        ({"tags": ["style", "ben"]}, [1]),
        ({"thread": "news"}, [4]),
        ({"speaker": "Ana"}, [0]),
        ({"since": "2026-01-05"}, [5, 4]),
        ({"until": "2026-01-01"}, [0]),
        ({"since": "2026-01-02", "until": "2026-01-03T00:00:00Z"}, [1]),
    ],
)
def test_a_list_is_restricted_by_fields(shelf: Caller, asked: dict[str, Any], numbers: list[int]) -> None:
    found = [each["text"] for each in shelf.get("/memories", **asked)["memories"]]
    assert found == [_text(SHELF[number]) for number in numbers]


# Forgetting.

RECEIPT = {"ids", "count", "not_found", "dry_run", "records", "index"}


def test_a_deleted_memory_is_gone_and_cannot_be_deleted_again(api: Caller) -> None:
    id = api.store("gone")
    receipt = api.delete(f"/memories/{id}", reason="asked to")
    assert set(receipt) == RECEIPT
    assert (receipt["ids"], receipt["count"], receipt["records"]) == ([id], 1, "forgotten")
    assert api.refused(404, "GET", f"/memories/{id}")["code"] == "not_found"
    assert api.refused(404, "DELETE", f"/memories/{id}")["code"] == "not_found"
    assert api.delete(f"/memories/{id}", purge=True)["records"].startswith("purge")


def test_forgetting_by_a_filter_and_a_dry_run(api: Caller) -> None:
    several: list[dict[str, Any]] = [{"thread": "t"}, {"tags": ["x", "y"]}, {"speaker": "S"}, {"tags": ["x"]}]
    for number, fields in enumerate(several):
        api.store(f"memory {number}", **fields, occurred_at=f"2026-01-0{number + 1}")
    before = api.export()
    plan = api.post("/forget", {"tags": ["x"], "dry_run": True})
    assert (plan["count"], plan["dry_run"], plan["records"]) == (2, True, "untouched")
    assert api.export() == before
    done = api.post("/forget", {"tags": ["x"]})
    assert (sorted(done["ids"]), done["dry_run"]) == (sorted(plan["ids"]), False)
    assert api.post("/forget", {"thread": "t"})["count"] == 1
    assert api.post("/forget", {"before": "2026-01-03"})["count"] == 0
    assert api.post("/forget", {"speaker": "S", "before": "2026-01-04"})["count"] == 1
    assert api.export() == ""


def test_forgetting_ids_reports_the_unknown_ones(api: Caller) -> None:
    id, unknown = api.store("known"), str(uuid4())
    receipt = api.post("/forget", {"ids": [id[-12:], unknown]})
    assert (receipt["ids"], receipt["not_found"]) == ([id], [unknown])


@pytest.mark.parametrize("how", ["delete", "purge", "ids", "thread"])
def test_what_was_forgotten_is_returned_by_no_route(api: Caller, how: str) -> None:
    secret = f"the heron hides {uuid4().hex}"
    word = secret.split()[-1]
    id = api.store(secret, coord="7,7", thread="nest", payload={"word": word})
    api.store("something else", coord="8,8")
    api.until_embedded()
    assert word in everything(api, secret, id)
    if how in ("delete", "purge"):
        api.delete(f"/memories/{id}", purge=how == "purge")
    else:
        api.post("/forget", {"ids": [id]} if how == "ids" else {"thread": "nest"})
    assert word not in everything(api, secret, id)
    assert "something else" in everything(api, secret, id)
    api.until_embedded()
    assert word not in everything(api, secret, id)


def everything(api: Caller, query: str, id: str) -> str:
    """What all routes that return memories answer to a query, an id and a place; without what they repeat of these."""
    word = query.split()[-1]
    asked = {"query": query, "top_k": 100}
    answers = [
        api.post("/recall", asked),
        api.get("/recall", **asked),
        api.post("/recall_batch", {"queries": [query], "top_k": 100}),
        api.post("/recall_with_scores", asked),
        api.post("/hybrid_recall_with_scores", asked | {"terms": [word], "boost": 100}),
        api.post("/recall_with_context", asked | {"context": query}),
        api.post("/keyword_search", {"term": word, "exact": False}),
        api.get("/range", min="0,0", max="9,9"),
        api.get("/memories", limit=100),
        api.get("/memories", thread="nest"),
        api.export(),
    ]
    for path in (f"/memories/{id}", f"/memories?ids={id}", f"/memories/{id[-12:]}"):
        answers.append(api.ask("GET", path).text)
    similar = api.post("/store", {"text": query.replace(word, "away"), "check": True})
    api.delete(f"/memories/{similar['id']}", purge=True)
    return json.dumps([*answers, similar])


# Out and in again.


def test_an_export_is_read_again_after_a_purge(shelf: Caller, api: Caller) -> None:
    lines = shelf.export()
    exported = [json.loads(line) for line in lines.splitlines()]
    assert [each["text"] for each in exported] == [_text(item) for item in SHELF]
    assert all(set(each) == MEMORY for each in exported)
    headers = {"Content-Type": "application/x-ndjson"}
    assert api.post("/import", lines.encode(), headers=headers) == {"stored": len(SHELF), "refused": []}
    given = MEMORY - {"id", "version", "recorded_at", "created_at", "position"}
    again = [json.loads(line) for line in api.export().splitlines()]
    assert [{name: each[name] for name in given} for each in again] == [
        {name: each[name] for name in given} for each in exported
    ]
    assert {each["id"] for each in again}.isdisjoint(each["id"] for each in exported)


def test_an_export_longer_than_a_page_is_whole(api: Caller) -> None:
    items = [{"text": f"memory {number}", "occurred_at": "2026-01-01"} for number in range(250)]
    api.post("/store_bulk", {"items": items})
    exported = [json.loads(line)["text"] for line in api.export().splitlines()]
    assert sorted(exported) == sorted(item["text"] for item in items)


def test_bad_lines_are_named_and_nothing_is_stored_unless_partial(api: Caller) -> None:
    lines = (
        b'{"text":"a"}\nno json\n\n{"text":""}\n{"text":"b","colour":"red"}\n[1]\n\xff\n'
        b'{"text":"c","coordinate":"1,,2"}\n{"text":"d"}'
    )
    error = api.refused(422, "POST", "/import", lines)
    assert error["fields"] == ["line 2", "line 4", "line 5", "line 6", "line 7", "line 8"]
    assert "line 2" in error["message"]
    assert api.export() == ""
    done = api.post("/import?partial=true", lines)
    assert done["stored"] == 2
    assert [(each["line"], each["fields"]) for each in done["refused"]] == [
        (2, ["line"]), (4, ["text"]), (5, ["colour"]), (6, ["line"]), (7, ["line"]), (8, ["coordinate"]),
    ]  # fmt: skip
    assert {each["text"] for each in api.get("/memories")["memories"]} == {"a", "d"}


def test_an_import_may_come_in_chunks_and_be_longer_than_a_batch(api: Caller) -> None:
    chunks = (f'{{"text":"memory {number}"}}\n'.encode() for number in range(1_200))
    answer = api.ask("POST", "/import", content=chunks, headers={"Content-Type": "application/x-ndjson"})
    assert answered(answer) == {"stored": 1_200, "refused": []}
    assert api.get("/stats")["total_memories"] == 1_200


# The server itself.


def test_the_server_tells_what_it_is_and_how_it_does(shelf: Caller) -> None:
    root = shelf.get("/")
    assert (root["name"], root["docs"], root["metrics"]) == ("soma", "/docs", "/metrics")
    assert root["version"] == shelf.get("/stats")["version"]
    assert shelf.get("/healthz") == {"status": "ok"}
    assert shelf.get("/readyz") == {"ready": True, "missing": []}
    health = shelf.get("/health")
    assert health["status"] == "ok"
    assert set(health["parts"]) == {"records", "index", "model", "cache"}
    assert all(part["ok"] is True and part["ms"] >= 0 for part in health["parts"].values())
    assert shelf.ask("GET", "/docs").headers["content-type"].startswith("text/html")
    assert shelf.get("/openapi.json")["info"]["title"] == "Soma"


def test_the_metrics_count_what_was_asked(shelf: Caller) -> None:
    def ranges() -> float:
        lines = shelf.ask("GET", "/metrics").text.splitlines()
        counted = [line for line in lines if line.startswith("api_requests_total") and 'endpoint="range"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in counted)

    before = ranges()
    shelf.get("/range", min="0", max="1")
    assert ranges() == before + 1


def test_a_request_id_is_given_back_and_else_made(shelf: Caller) -> None:
    assert shelf.ask("GET", "/stats", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {shelf.ask("GET", "/stats").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


# Other forms of a request.


GETTABLE = (
    "/",
    "/healthz",
    "/readyz",
    "/health",
    "/metrics",
    "/stats",
    "/memories",
    "/recall?query=x",
    "/openapi.json",
)


@pytest.mark.parametrize("path", GETTABLE)
def test_head_is_answered_as_get_without_a_body(shelf: Caller, path: str) -> None:
    got, head = shelf.ask("GET", path), shelf.ask("HEAD", path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0
    assert shelf.ask("GET", "/healthz").is_success  # on the same connection: nothing of a body is left on it


def test_head_of_an_export_does_not_read_the_memories_out(shelf: Caller) -> None:
    head = shelf.ask("HEAD", "/export")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("application/x-ndjson")


def test_head_of_what_cannot_be_got_is_an_error_as_for_get(shelf: Caller) -> None:
    assert shelf.ask("HEAD", "/nope").status_code == 404
    assert shelf.ask("HEAD", "/store").status_code == 405
    assert shelf.ask("HEAD", "/memories/018f").status_code == shelf.ask("GET", "/memories/018f").status_code


def test_head_is_counted_as_itself(shelf: Caller) -> None:
    shelf.ask("HEAD", "/healthz")
    assert 'endpoint="healthz",method="HEAD",status="200"' in shelf.ask("GET", "/metrics").text


def test_a_slash_at_the_end_of_a_path_changes_nothing(api: Caller) -> None:
    stored = api.ask("POST", "/store/", {"text": "stored with a slash"}, follow_redirects=False)
    assert stored.status_code == 200
    assert api.get(f"/memories/{stored.json()['id']}/")["text"] == "stored with a slash"
    assert [each["text"] for each in api.get("/memories/")["memories"]] == ["stored with a slash"]
    imported = api.ask("POST", "/import/", b'{"text": "imported with a slash"}', follow_redirects=False)
    assert imported.json()["stored"] == 1
    assert api.refused(404, "POST", "/nope/")["code"] == "not_found"
    assert api.refused(404, "POST", "/store/x/")["code"] == "not_found"


def test_a_page_of_a_known_origin_sees_the_request_id_and_no_session_that_there_is_not(api: Caller) -> None:
    answer = api.ask("GET", "/healthz", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-expose-headers"] == "X-Request-ID"
