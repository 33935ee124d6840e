"""A real MCP client on a real stdio server, in both eras of the protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenizers
from mcp import MCPError

from soma_core.domain.excerpts import count_tokens
from tests.e2e.clients import MODES, ROOT, McpClient, files_holding, mcp_client, text_of
from tests.support.deployments import DISTRIBUTED, EMBEDDED

MODEL = ROOT / "embeddings" / "models" / "bge-small-en-v1.5-int8"


WAYS = [*((mode, EMBEDDED) for mode in MODES), (MODES[0], DISTRIBUTED)]
"""Which era of the protocol is spoken says nothing of where memories are kept: one of them is enough on servers."""
pytestmark = [
    pytest.mark.usefixtures("mode", "deployment"),
    pytest.mark.parametrize(("mode", "deployment"), WAYS, indirect=True, scope="module"),
]


@pytest.fixture(scope="module")
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(mode: str, deployment: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpClient]:
    """One server for all tests that only need words of their own; its model gets loaded."""
    with mcp_client(tmp_path_factory.mktemp(mode) / "home", mode) as client:
        yield client


# What the server says of itself


def test_the_instructions_tell_when_to_use_memory_and_fit_what_clients_show(client: McpClient) -> None:
    assert client.instructions
    assert len(client.instructions) < 2048
    assert "ecall" in client.instructions
    assert "tore" in client.instructions


def test_the_tools_cost_a_model_less_than_two_thousand_tokens(client: McpClient) -> None:
    tools = client.run("list_tools").tools
    tokenizer = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_truncation()
    billed = json.dumps([{"name": t.name, "description": t.description, "input_schema": t.input_schema} for t in tools])

    assert {tool.name for tool in tools} == {"store", "recall", "get", "browse", "forget", "status"}
    assert len(tools) <= 8
    assert len(tokenizer.encode(billed, add_special_tokens=False).ids) < 2000


def test_every_tool_has_annotations_and_an_output_schema(client: McpClient) -> None:
    for tool in client.run("list_tools").tools:
        assert tool.description
        assert tool.output_schema
        assert tool.output_schema["type"] == "object"
        assert tool.annotations.read_only_hint is (tool.name in {"recall", "get", "browse", "status"})
        assert tool.annotations.destructive_hint is (tool.name == "forget")
        assert tool.annotations.open_world_hint is False


def test_the_resources_are_listed(client: McpClient) -> None:
    assert [str(found.uri) for found in client.run("list_resources").resources] == ["memory://recent"]
    templates = client.run("list_resource_templates").resource_templates
    assert [found.uri_template for found in templates] == ["memory://{id}"]


# Storing and finding again


def test_a_stored_memory_is_recalled_at_once_before_anything_is_embedded(home: Path, mode: str) -> None:
    with mcp_client(home, mode) as client:
        stored = client.ok("store", text="The walrus prefers oysters with vinegar.")
        found = client.ok("recall", query="oysters with vinegar")

    assert stored["status"] == "created"
    assert stored["version"] == 1
    assert [hit["id"] for hit in found["hits"]] == [stored["id"]]
    assert found["hits"][0]["parts"]["lexical"] > 0


def test_a_recall_without_the_model_says_that_it_went_by_words(home: Path, mode: str) -> None:
    for _ in range(5):
        with mcp_client(home, mode) as client:
            result = client.call("recall", query="anything")
            assert result.structured_content is not None
            if not (degraded := result.structured_content["degraded"]):
                continue  # its model was loaded sooner than it was asked
            assert any("dense" in reason for reason in degraded)
            assert "degraded" in text_of(result)
            client.until_embedded()
            assert client.ok("recall", query="anything")["degraded"] == []
            return
    pytest.fail("of five servers each had loaded its model before it was asked")


def test_each_of_many_stores_is_recalled_at_once_while_others_wait_to_be_embedded(client: McpClient) -> None:
    for number in range(40):
        word = f"zorkmid{number:03}"
        client.ok("store", text=f"The vault number {number} is opened by the word {word}.")
        assert word in client.texts(f"which vault opens by {word}", limit=1)[0]


def test_a_memory_is_found_by_meaning_once_it_is_embedded(client: McpClient) -> None:
    client.ok("store", text="My sister's wedding was at the seaside.", thread="meaning")
    client.ok("store", text="The compiler needs eight gigabytes.", thread="meaning")
    client.until_embedded()

    best = client.ok("recall", query="marriage on the coast", thread="meaning")["hits"][0]

    assert best["text"].startswith("My sister")
    assert best["parts"]["dense"] > 0
    assert best["score"] == best["parts"].pop("total") == pytest.approx(sum(best["parts"].values()))


def test_get_returns_every_field_as_it_was_stored(client: McpClient) -> None:
    given = {
        "text": "Grüße an Zoë: 東京, 🦉 and a\ttab.",
        "type": "semantic",
        "tags": ["a b", "ü", "a b"],
        "thread": "t:1/2",
        "speaker": "Zoë",
        "occurred_at": "2026-03-14T09:30:00+02:00",
        "coordinate": "1, 2.50,-0",
        "importance": 0.75,
        "payload": {"n": 1, "deep": {"list": [1, 2.5, None, True, "ü"]}},
    }
    stored = client.ok("store", **given)
    (memory,) = client.ok("get", ids=[stored["id"]])["memories"]

    assert memory["recorded_at"].endswith("Z")
    assert {name: memory[name] for name in (*given, "id", "version")} == given | {
        "id": stored["id"],
        "version": 1,
        "tags": ["a b", "ü"],
        "occurred_at": "2026-03-14T07:30:00Z",
        "coordinate": "1,2.5,0",
    }


def test_get_takes_short_ids_in_any_number_and_keeps_their_order(client: McpClient) -> None:
    first, second = (client.ok("store", text=f"The {word} of two.")["id"] for word in ("first", "second"))

    found = client.ok("get", ids=[second[-12:], first])["memories"]

    assert [memory["id"] for memory in found] == [second, first]


def test_get_names_the_id_that_is_unknown(client: McpClient) -> None:
    known = client.ok("store", text="Known to all.")["id"]

    error = client.refused("get", ids=[known, "00000000-0000-7000-8000-00000000dead"])

    assert error["code"] == "not_found"
    assert "00000000dead" in error["message"]
    assert error["fields"] == ["ids"]


def test_browse_lists_by_time_page_by_page(client: McpClient) -> None:
    for day in (3, 1, 2, 5, 4):
        client.ok("store", text=f"Entry of day {day}.", thread="walk", occurred_at=f"2026-01-0{day}")
    days: list[str] = []
    cursor = None
    pages = 0
    while pages == 0 or cursor:
        page = client.ok("browse", thread="walk", order="oldest", limit=2, **({"cursor": cursor} if cursor else {}))
        days += [memory["occurred_at"][:10] for memory in page["memories"]]
        cursor = page["next_cursor"]
        pages += 1

    assert days == [f"2026-01-0{day}" for day in range(1, 6)]
    assert pages == 3
    newest = client.ok("browse", thread="walk", limit=1)["memories"]
    assert newest[0]["text"] == "Entry of day 5."


def test_status_counts_by_state_and_type(home: Path, mode: str) -> None:
    with mcp_client(home, mode) as client:
        ids = [client.ok("store", text=f"Fact {n}", type="semantic")["id"] for n in range(3)]
        client.ok("store", text="Did it.")
        client.ok("forget", ids=ids[:1])
        client.ok("forget", ids=ids[1:2], purge=True)
        found = client.ok("status")

    assert found["namespace"] == "api_ns"
    assert found["counts"] == {
        "live": 2,
        "forgotten": 1,
        "purged": 1,
        "types": {"episodic": 1, "semantic": 1, "procedural": 0},
    }
    assert found["health"] == []
    assert found["model"]["id"] == "bge-small-en-v1.5:int8"


# Filters


@pytest.fixture(scope="module")
def filtered(client: McpClient) -> McpClient:
    """The client over six gardening memories that differ in each field a filter knows."""
    rows = [
        ("planted", "episodic", ["spring", "plant"], "bed-1", "Ann", "2026-03-01"),
        ("watered", "episodic", ["spring"], "bed-1", "Bob", "2026-03-02T12:00:00Z"),
        ("weeded", "semantic", ["plant"], "bed-2", "Ann", "2026-03-03T23:59:59Z"),
        ("pruned", "procedural", ["autumn", "plant"], "bed-2", "Bob", "2026-03-04"),
        ("raked", "procedural", [], "bed-3", "Ann", "2026-03-05"),
        ("mulched", "semantic", ["autumn"], "bed-3", "Cy", "2026-03-06T00:00:00+01:00"),
    ]
    for verb, type_, tags, thread, speaker, when in rows:
        client.ok(
            "store",
            text=f"Somebody {verb} the quincebush.",
            type=type_,
            tags=tags,
            thread=thread,
            speaker=speaker,
            occurred_at=when,
        )
    return client


@pytest.mark.parametrize("embedded", [False, True], ids=["by words", "embedded"])
@pytest.mark.parametrize(
    ("wanted", "verbs"),
    [
        ({"types": ["semantic"]}, "weeded mulched"),
        ({"types": ["semantic", "procedural"]}, "weeded pruned raked mulched"),
        ({"tags": ["plant"]}, "planted weeded pruned"),
        ({"tags": ["plant", "spring"]}, "planted"),
        ({"thread": "bed-2"}, "weeded pruned"),
        ({"speaker": "Ann"}, "planted weeded raked"),
        ({"since": "2026-03-04"}, "pruned raked mulched"),
        ({"until": "2026-03-03"}, "planted watered weeded"),
        ({"until": "2026-03-02T12:00:00Z"}, "planted"),
        ({"since": "2026-03-02T12:00:00Z", "until": "2026-03-04"}, "watered weeded pruned"),
        ({"speaker": "Ann", "tags": ["plant"], "types": ["semantic"]}, "weeded"),
        ({"thread": "bed-9"}, ""),
    ],
)
def test_recall_and_browse_keep_to_their_filter(
    filtered: McpClient, wanted: dict[str, object], verbs: str, embedded: bool
) -> None:
    if embedded:
        filtered.until_embedded()

    recalled = filtered.texts("who did what to the quincebush", limit=100, **wanted)
    browsed = [m["text"] for m in filtered.ok("browse", limit=100, **wanted)["memories"]]

    for texts in (recalled, browsed):
        assert {text.split()[1] for text in texts if "quincebush" in text} == set(verbs.split())


def test_recall_gives_no_more_than_the_limit(filtered: McpClient) -> None:
    assert len(filtered.texts("quincebush", limit=2)) == 2


def test_recall_in_time_order_sorts_the_best_by_when_they_happened(filtered: McpClient) -> None:
    hits = filtered.ok("recall", query="quincebush raked and pruned", order="time", limit=6)["hits"]

    assert [hit["occurred_at"] for hit in hits] == sorted(hit["occurred_at"] for hit in hits)
    assert len(hits) == 6


def test_recall_keeps_to_the_token_budget_and_counts_what_it_left_out(client: McpClient) -> None:
    for number in range(5):
        client.ok("store", text=f"Marmalade note {number}: " + "sugar and oranges " * 20, thread="budget")

    result = client.call("recall", query="marmalade", thread="budget", max_tokens=250)
    found = result.structured_content

    assert found is not None
    assert found["tokens"] <= 250
    assert len(found["hits"]) + found["omitted"] == 5
    assert found["omitted"] >= 2
    assert str(found["omitted"]) in text_of(result).splitlines()[-1] + text_of(result).splitlines()[-3]


def test_a_best_hit_that_is_over_the_budget_is_cut_and_says_so(client: McpClient) -> None:
    client.ok("store", text="Gooseberry " * 500, thread="cut")

    (hit,) = client.ok("recall", query="gooseberry", thread="cut", max_tokens=20)["hits"]

    assert hit["cut"] is True
    assert len(hit["text"]) <= 80


# Keys, coordinates, checks


def test_the_same_key_again_returns_the_first_receipt(client: McpClient) -> None:
    first = client.ok("store", text="Sent once.", key="k-1", thread="keys")
    client.ok("store", text="Something between.", thread="keys")
    again = client.ok("store", text="Sent once.", key="k-1", thread="keys")

    assert {**again, "indexed": None} == {**first, "indexed": None}
    assert len(client.ok("browse", thread="keys")["memories"]) == 2


def test_the_same_key_with_other_arguments_is_a_conflict(client: McpClient) -> None:
    client.ok("store", text="The first meaning.", key="k-2")

    assert client.refused("store", text="Another meaning.", key="k-2")["code"] == "conflict"
    assert client.refused("forget", thread="none", key="k-2")["code"] == "conflict"


def test_a_forget_sent_again_under_its_key_returns_the_first_receipt(client: McpClient) -> None:
    stored = client.ok("store", text="Forget me once.", thread="forget-key")["id"]
    first = client.ok("forget", thread="forget-key", key="k-3")
    kept = client.ok("store", text="Stored since then.", thread="forget-key")["id"]
    again = client.ok("forget", thread="forget-key", key="k-3")

    assert first["ids"] == [stored]
    assert (again["ids"], again["count"]) == ([stored], 1)
    assert client.ok("get", ids=[kept])["memories"]


def test_storing_again_at_a_coordinate_revises_and_the_same_again_changes_nothing(client: McpClient) -> None:
    first = client.ok("store", text="The launch is in May.", coordinate="7,8,9", thread="plan")
    second = client.ok("store", text="The launch is in July.", coordinate="7.0, 8,9", thread="plan")
    third = client.ok("store", text="The launch is in July.", coordinate="7,8,9", thread="plan")

    assert [(r["version"], r["status"]) for r in (first, second, third)] == [
        (1, "created"),
        (2, "revised"),
        (2, "unchanged"),
    ]
    assert first["id"] == second["id"] == third["id"]
    assert client.texts("when is the launch", thread="plan") == ["The launch is in July."]
    client.until_embedded()
    assert client.texts("when is the launch", thread="plan") == ["The launch is in July."]
    assert client.ok("get", ids=[first["id"]])["memories"][0]["version"] == 2


def test_a_checked_store_of_the_same_text_is_a_duplicate_and_names_it(client: McpClient) -> None:
    first = client.ok("store", text="Kim is allergic to hazelnuts.", thread="check")
    same = client.ok("store", text="Kim is allergic to hazelnuts.", thread="check", check=True)
    client.until_embedded()
    near = client.ok("store", text="Kim has an allergy to hazelnuts.", thread="check", check=True)

    assert same["status"] == "duplicate"
    assert same["id"] == first["id"]
    assert near["status"] == "created"
    assert first["id"] in [found["id"] for found in near["similar"]]
    assert len(client.ok("browse", thread="check")["memories"]) == 2


# Forgetting


def assert_gone(client: McpClient, memory_id: str, words: str) -> None:
    """Nothing that a client can ask for returns the memory."""
    assert words not in json.dumps(client.ok("recall", query=words, limit=100, max_tokens=100_000))
    assert client.refused("get", ids=[memory_id])["code"] == "not_found"
    assert client.refused("get", ids=[memory_id[-12:]])["code"] == "not_found"
    assert words not in json.dumps(client.ok("browse", limit=100))
    assert words not in client.read("memory://recent")
    with pytest.raises(MCPError):
        client.read(f"memory://{memory_id}")


def test_what_was_forgotten_is_returned_by_nothing_also_after_a_restart(home: Path, mode: str) -> None:
    words = ["cobalt rhinoceros", "amber pangolin", "violet tapir", "scarlet okapi"]
    with mcp_client(home, mode) as client:
        kept = client.ok("store", text="A grey elephant stays.")["id"]
        ids = [client.ok("store", text=f"The secret is the {word}.")["id"] for word in words]
        for place, purge in enumerate([False, True, False, True]):
            if place == 2:
                client.until_embedded()
            receipt = client.ok("forget", ids=[ids[place]], purge=purge)
            assert (receipt["count"], receipt["ids"]) == (1, [ids[place]])
            assert_gone(client, ids[place], words[place])
    with mcp_client(home, mode) as client:
        for memory_id, word in zip(ids, words, strict=True):
            assert_gone(client, memory_id, word)
        client.until_embedded()
        for memory_id, word in zip(ids, words, strict=True):
            assert_gone(client, memory_id, word)
        assert client.ok("get", ids=[kept])["memories"]
        assert client.texts("secret") == ["A grey elephant stays."]


@pytest.mark.embedded_only("the files of a data folder")
def test_the_words_of_a_purged_memory_are_in_no_file_of_the_data_folder(home: Path, mode: str) -> None:
    words = "xylophonic-quetzal"
    with mcp_client(home, mode) as client:
        for number in range(20):
            client.ok("store", text=f"A harmless note {number} that stays.")
        first = client.ok("store", text=f"My {words} password.", coordinate="4,2", payload={"hint": words})
        client.until_embedded()
        client.ok("store", text=f"My new {words} password.", coordinate="4,2", payload={"hint": words}, key="again")
        client.until_embedded()
        assert files_holding(home, words)
        receipt = client.ok("forget", ids=[first["id"]], purge=True, reason="asked to")
        assert receipt["records"] == "purged"
        assert files_holding(home, words) == []
        client.until_embedded()
    assert files_holding(home, words) == []
    assert files_holding(home, "harmless")


def test_a_dry_run_only_says_what_would_be_forgotten(client: McpClient) -> None:
    ids = {client.ok("store", text=f"Dry {n}", thread="dry")["id"] for n in range(3)}

    receipt = client.ok("forget", thread="dry", dry_run=True)

    assert set(receipt["ids"]) == ids
    assert (receipt["count"], receipt["dry_run"], receipt["records"]) == (3, True, "untouched")
    assert len(client.ok("browse", thread="dry")["memories"]) == 3


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({"thread": "a"}, "3 4"),
        ({"tags": ["red"]}, "2 4"),
        ({"tags": ["red", "big"]}, "1 2 4"),
        ({"speaker": "Pia"}, "2 3 4"),
        ({"before": "2025-01-03"}, "3 4"),
        ({"before": "2025-01-03", "thread": "b"}, "1 2 3 4"),
    ],
)
def test_forgetting_by_filter_takes_exactly_what_matches(
    client: McpClient, wanted: dict[str, object], left: str
) -> None:
    rows = [("1", "a", ["red"], "Pia", 1), ("2", "a", [], "Ole", 2), ("3", "b", ["red", "big"], "Ole", 3),
            ("4", "b", ["big"], "Cy", 4)]  # fmt: skip
    for name, thread, tags, speaker, day in rows:
        client.ok(
            "store", text=f"Heron {name}", thread=thread, tags=tags, speaker=speaker, occurred_at=f"2025-01-0{day}"
        )

    receipt = client.ok("forget", **wanted)

    here = client.ok("browse", since="2025-01-01", until="2025-01-31")["memories"]
    assert sorted(memory["text"].split()[1] for memory in here) == left.split()
    assert receipt["count"] == 4 - len(left.split())
    client.ok("forget", before="2025-02-01")


def test_forget_says_which_ids_it_did_not_know(client: McpClient) -> None:
    known = client.ok("store", text="Soon gone.")["id"]

    receipt = client.ok("forget", ids=[known, "00000000dead"])

    assert receipt["ids"] == [known]
    assert receipt["not_found"] == ["00000000dead"]
    assert client.refused("forget", ids=["00000000dead"])["code"] == "not_found"


def test_forget_without_ids_and_filter_or_with_both_is_refused(client: McpClient) -> None:
    assert client.refused("forget")["code"] == "invalid_input"
    assert client.refused("forget", purge=True)["code"] == "invalid_input"
    assert client.refused("forget", ids=["00000000dead"], thread="x")["code"] == "invalid_input"


# Resources


def test_the_resource_of_recent_memories_shows_the_newest_twenty(home: Path, mode: str) -> None:
    with mcp_client(home, mode) as client:
        assert client.read("memory://recent") == "No memories yet."
        for number in range(22):
            client.ok("store", text=f"Recent note {number:02}.")
        shown = client.read("memory://recent")

    assert "Recent note 21." in shown
    assert "Recent note 02." in shown
    assert "Recent note 01." not in shown


def test_a_memory_is_a_resource_under_its_id(client: McpClient) -> None:
    stored = client.ok("store", text="As a resource.", payload={"a": 1})

    for name in (stored["id"], stored["id"][-12:]):
        found = json.loads(client.read(f"memory://{name}"))
        assert (found["id"], found["text"], found["payload"]) == (stored["id"], "As a resource.", {"a": 1})


@pytest.mark.parametrize("name", ["00000000-0000-7000-8000-00000000dead", "no-such-thing"])
def test_an_unknown_memory_is_no_resource(client: McpClient, name: str) -> None:
    with pytest.raises(MCPError):
        client.read(f"memory://{name}")
    assert client.ok("status")


# Sharing a folder


def test_two_servers_on_one_folder_share_a_namespace_at_once(home: Path, mode: str) -> None:
    with mcp_client(home, mode) as first, mcp_client(home, mode) as second:
        stored = second.ok("store", text="Told to the second server.")
        assert first.texts("told to the second") == ["Told to the second server."]
        first.ok("forget", ids=[stored["id"]])
        assert_gone(second, stored["id"], "Told to the second")


def test_namespaces_of_one_folder_do_not_see_each_other(home: Path, mode: str) -> None:
    with (
        mcp_client(home, mode, SOMA_MEMORY_NAMESPACE="left") as left,
        mcp_client(home, mode, SOMA_MEMORY_NAMESPACE="right") as right,
    ):
        stored = left.ok("store", text="The left hand holds a pear.", coordinate="1,1", key="same")
        assert right.ok("status")["namespace"] == "right"
        for _ in range(2):
            assert_gone(right, stored["id"], "holds a pear")
            left.until_embedded()
        assert right.refused("forget", ids=[stored["id"]])["code"] == "not_found"
        other = right.ok("store", text="The right hand holds a plum.", coordinate="1,1", key="same")
        assert other["id"] != stored["id"]
        assert other["status"] == "created"
        assert right.ok("forget", before="2100-01-01")["ids"] == [other["id"]]
        assert left.texts("what does the hand hold") == ["The left hand holds a pear."]
        assert left.ok("status")["counts"]["live"] == 1


# Answers made for a model


def test_the_text_of_an_answer_keeps_to_the_budget_whatever_that_is(client: McpClient) -> None:
    for number in range(12):
        client.ok(
            "store", text=f"Damson {number}. " + "The damson jam is in the cellar of the house. " * 60, thread="jam"
        )

    for budget in (1, 5, 12, 30, 100, 300, 700, 2_000, 5_000):
        result = client.call("recall", query="damson jam", thread="jam", max_tokens=budget, limit=12)
        found = result.structured_content
        assert found is not None
        assert count_tokens(text_of(result)) == found["tokens"] <= budget
        assert len(found["hits"]) + found["omitted"] == 12
    default = client.ok("recall", query="damson jam", thread="jam")
    assert (len(default["hits"]), default["omitted"]) == (10, 0)


def test_a_long_memory_is_shown_by_the_passage_that_matched_and_get_has_the_whole(client: McpClient) -> None:
    filler = "Nothing happened on that day, as on most days. " * 80
    text = f"{filler}Then the medlar tree was felled by lightning. {filler}"
    client.ok("store", text=text, thread="medlar")

    result = client.call("recall", query="medlar tree lightning", thread="medlar", max_tokens=300)

    assert "Then the medlar tree was felled by lightning." in text_of(result)
    assert "[cut]" in text_of(result)
    assert "get reads the whole" in text_of(result)
    assert result.structured_content is not None
    (hit,) = result.structured_content["hits"]
    assert hit["cut"] is True
    assert hit["text"] in text
    assert client.ok("get", ids=[hit["id"]])["memories"][0]["text"] == text


def test_memories_that_say_the_same_are_one_hit(client: McpClient) -> None:
    same = [
        client.ok("store", text=text, thread="sloe")["id"] for text in ("The sloe gin is ripe.", "sloe gin is ripe")
    ]
    other = client.ok("store", text="The sloe gin is not ripe.", thread="sloe")["id"]

    result = client.call("recall", query="is the sloe gin ripe", thread="sloe")

    assert result.structured_content is not None
    hits = result.structured_content["hits"]
    assert {frozenset([hit["id"], *hit.get("alike", [])]) for hit in hits} == {frozenset(same), frozenset([other])}
    assert "(1 alike: [" in text_of(result)


def test_a_second_recall_with_the_cursor_brings_only_what_is_new(client: McpClient) -> None:
    client.many(
        "store", [{"text": f"Elderberry note {n}", "thread": "elder", "coordinate": f"77,{n}"} for n in range(6)]
    )
    asked = {"query": "elderberry", "thread": "elder"}

    result = client.call("recall", **asked, limit=4)
    assert result.structured_content is not None
    cursor = result.structured_content["cursor"]
    assert f"(cursor: {cursor})" in text_of(result)
    second = client.ok("recall", **asked, since_cursor=cursor)

    assert (len(second["hits"]), second["seen"]) == (2, 4)
    shown = {hit["id"] for hit in [*result.structured_content["hits"], *second["hits"]]}
    assert len(shown) == 6
    client.ok("store", text="Elderberry note revised", thread="elder", coordinate="77,3")
    third = client.ok("recall", **asked, since_cursor=second["cursor"])
    assert [hit["text"] for hit in third["hits"]] == ["Elderberry note revised"]
    assert text_of(client.call("recall", **asked, since_cursor=third["cursor"])).startswith("Nothing new was found.")


def test_an_answer_that_holds_nothing_relevant_says_so(home: Path) -> None:
    with mcp_client(home) as client:
        client.many("store", [{"text": text} for text in ("Ana prefers tabs over spaces.", "We ship on Tuesdays.")])
        client.until_embedded()

        about = client.call("recall", query="Does Ana like tabs or spaces?")
        beside = client.call("recall", query="Which vaccine did the kitten get at the vet in Lisbon?")

        assert about.structured_content is not None
        assert about.structured_content["relevance"] == "some"
        assert beside.structured_content is not None
        assert beside.structured_content["relevance"] == "none"
        assert len(beside.structured_content["hits"]) == 2
        assert text_of(beside).startswith("Nothing clearly relevant was found. The nearest:")
