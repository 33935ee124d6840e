"""What fields may hold, and what the error says."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from soma_core.domain import errors
from soma_core.domain.errors import BadCoordinate, InvalidInput, SomaError
from soma_core.domain.memory import NewMemory, is_question, new_id, parse_coordinate, short_id, uuid7
from soma_core.domain.query import BrowseQuery, Filter, RecallQuery, parse_ids
from soma_core.domain.validation import check_json_characters, check_payload, check_time

DEEP: Any = "x"
for _ in range(100):
    DEEP = {"a": DEEP}


def nest(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("text", {"text": ""}, "empty"),
    ("text", {"text": " \n\u2003"}, "white space"),
    ("text", {"text": None}, "not null"),
    ("text", {"text": 3}, "not number"),
    ("text", {"text": "x" * 65_537}, "65536"),
    ("text", {"text": "ü" * 32_769}, "65536"),
    ("text", {"text": "a\x00b"}, "U\\+0000 at 1"),
    ("text", {"text": "a\ud800"}, "U\\+D800"),
    ("type", {"type": "dream"}, "episodic, semantic, procedural"),
    ("type", {"type": 1}, "episodic"),
    ("tags", {"tags": "one"}, "list"),
    ("tags", {"tags": [f"{i}" for i in range(300)]}, "300.*64"),
    (r"tags\[1\]", {"tags": ["a", ""]}, "blank"),
    (r"tags\[0\]", {"tags": ["x" * 257]}, "256"),
    (r"tags\[0\]", {"tags": [None]}, "string"),
    ("thread", {"thread": " "}, "blank"),
    ("speaker", {"speaker": "x" * 257}, "256"),
    ("occurred_at", {"occurred_at": "yesterday"}, "ISO 8601"),
    ("occurred_at", {"occurred_at": "2026-02-30"}, "ISO 8601"),
    ("occurred_at", {"occurred_at": 1_700_000_000}, "ISO 8601"),
    ("occurred_at", {"occurred_at": "0001-01-01T00:00:00+10:00"}, "years"),
    ("occurred_at", {"occurred_at": "9999-12-31T23:00:00-10:00"}, "years"),
    ("importance", {"importance": 1.01}, "0 to 1"),
    ("importance", {"importance": math.nan}, "0 to 1"),
    ("importance", {"importance": True}, "number"),
    ("importance", {"importance": 10**400}, "0 to 1"),
    ("payload", {"payload": [1]}, "object"),
    ("payload", {"payload": DEEP}, "32"),
    ("payload", {"payload": {"a": "x" * 66_000}}, "65536"),
    ("payload", {"payload": {1: 2}}, "string"),
    ("payload", {"payload": {"a\ud800": 2}}, "D800"),
    ("payload", {"payload": {"a": {"b": "\x00"}}}, "0000"),
    ("payload", {"payload": {"a": math.inf}}, "inf"),
    ("payload", {"payload": {"a": b""}}, "JSON"),
    ("payload", {"payload": {"a": 10**5_000}}, "bits"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "given", "says"), BAD, ids=[f"{f} {n}" for n, (f, _, _) in enumerate(BAD)])
def test_a_bad_field_is_named_with_its_limit(field: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}.*{says}") as caught:
        NewMemory.parse(given.pop("text", "fine"), **given)
    assert caught.value.fields
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "value", ["", " ", ",", "1,", "1,,2", "a", "nan", "inf", "1e999", "1,2,3,4,5,6,7,8,9", 1, None, [1], "1;2"]
)
def test_a_bad_coordinate_is_refused(value: object) -> None:
    with pytest.raises(BadCoordinate, match="1 to 8 finite numbers"):
        parse_coordinate(value)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [("1,2.50,3", "1,2.5,3"), (" 1 , -0.0", "1,0"), ("1e3", "1000"), ("0.1", "0.1"), ("1e300", "1e+300"), ("-7", "-7")],
)
def test_a_coordinate_has_one_form(given: str, canonical: str) -> None:
    assert parse_coordinate(given) == canonical


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ("2026-03-14", "2026-03-14T00:00:00", "2026-03-15T00:00:00"),
        (" 2026-12-31 ", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("20260314", "2026-03-14T00:00:00", "2026-03-15T00:00:00"),
        ("2026-W11-6", "2026-03-14T00:00:00", "2026-03-15T00:00:00"),
        ("2026-03-14T09:30:00Z", "2026-03-14T09:30:00", "2026-03-14T09:30:00"),
        ("2026-03-14T09:30", "2026-03-14T09:30:00", "2026-03-14T09:30:00"),
        ("2026-03-14T09:30:00.5+05:30", "2026-03-14T04:00:00.500000", "2026-03-14T04:00:00.500000"),
        ("2026-03-14T00:00:00", "2026-03-14T00:00:00", "2026-03-14T00:00:00"),
    ],
)
def test_a_date_alone_as_an_end_includes_its_day(given: str, start: str, end: str) -> None:
    assert check_time("t", given).isoformat() == f"{start}+00:00"
    assert check_time("t", given, end=True).isoformat() == f"{end}+00:00"


def test_the_last_day_there_is_cannot_be_an_inclusive_end() -> None:
    with pytest.raises(InvalidInput, match=r"^until"):
        check_time("until", "9999-12-31", end=True)


def test_a_moment_is_taken_to_utc_and_one_without_a_zone_is_utc() -> None:
    naive = datetime(2026, 3, 14, 12)
    assert check_time("t", naive) == naive.replace(tzinfo=UTC)
    assert check_time("t", naive.replace(tzinfo=timezone(timedelta(hours=2)))) == datetime(2026, 3, 14, 10, tzinfo=UTC)


def test_a_payload_may_nest_as_deep_as_is_said() -> None:
    assert check_payload(nest(32)) == nest(32)
    with pytest.raises(InvalidInput, match="32 levels"):
        check_payload(nest(34))


def test_bad_characters_are_found_anywhere_in_json() -> None:
    check_json_characters("arguments", {"a": ["fine 🦊", 1, None]})
    with pytest.raises(InvalidInput, match="D800"):
        check_json_characters("arguments", {"a": [{"b": "\ud800"}]})


def test_tags_lose_their_repeats_and_keep_their_order() -> None:
    assert NewMemory.parse("x", tags=["b", "a", "b"]).tags == ("b", "a")


QUERIES: list[tuple[str, Callable[[], object]]] = [
    ("query", lambda: RecallQuery.parse("")),
    ("limit", lambda: RecallQuery.parse("x", limit=0)),
    ("limit", lambda: RecallQuery.parse("x", limit=101)),
    ("limit", lambda: RecallQuery.parse("x", limit=10**5_000)),
    ("limit", lambda: BrowseQuery.parse(limit=True)),
    ("limit", lambda: BrowseQuery.parse(limit=2.0)),
    ("order", lambda: RecallQuery.parse("x", order="newest")),
    ("order", lambda: BrowseQuery.parse(order="score")),
    ("max_tokens", lambda: RecallQuery.parse("x", max_tokens=0)),
    ("cursor", lambda: BrowseQuery.parse(cursor=5)),
    ("since", lambda: Filter.parse(since="2026-03-15", until="2026-03-14")),
    ("since", lambda: Filter.parse(since="2026-03-14", before="2026-03-14")),
    ("types", lambda: Filter.parse(types="episodic")),
    (r"types\[1\]", lambda: Filter.parse(types=["episodic", "x"])),
    ("ids", lambda: parse_ids([])),
    ("ids", lambda: parse_ids("abc")),
    ("ids", lambda: parse_ids(["a"] * 1_001)),
    (r"ids\[1\]", lambda: parse_ids([str(uuid7()), "xyz"])),
    (r"ids\[0\]", lambda: parse_ids(["\x00"])),
]


@pytest.mark.parametrize(("field", "call"), QUERIES, ids=[f"{f} {n}" for n, (f, _) in enumerate(QUERIES)])
def test_a_bad_question_is_refused_by_field(field: str, call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}"):
        call()


def test_a_date_alone_as_since_and_until_means_that_whole_day() -> None:
    day = Filter.parse(since="2026-03-14", until="2026-03-14")
    assert day.since is not None
    assert day.until == day.since + timedelta(days=1)


def test_an_empty_filter_is_empty_and_any_condition_makes_it_not() -> None:
    assert Filter.parse(types=[], tags=[]).is_empty
    assert not Filter.parse(speaker="Ana").is_empty


def test_ids_are_taken_in_any_usual_spelling_once() -> None:
    key = UUID("0198F000-0000-7000-8000-ABCDEFABCDEF")
    assert parse_ids([str(key).upper(), key.hex, f" {key} ", short_id(key).upper()]) == (str(key), short_id(key))


def test_ids_made_later_are_larger_and_ids_of_coordinates_are_their_own() -> None:
    made = [uuid7() for _ in range(50)]
    assert [key.version for key in made] == [7] * 50
    assert [key.int >> 80 for key in made] == sorted(key.int >> 80 for key in made)
    assert new_id("a", "1") == new_id("a", "1") != new_id("b", "1")
    assert new_id("a", "1").version == 5


def test_a_bare_question_is_short_and_ends_by_asking() -> None:
    assert is_question("Where? ")
    assert not is_question("Where.")
    assert not is_question("word " * 40 + "?")


def test_every_error_of_the_tree_has_a_code_of_its_own() -> None:
    found = errors.error_classes()
    every = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, SomaError)}
    concrete = every - {errors.Retryable}
    assert {found[cls.code] for cls in concrete} == concrete
