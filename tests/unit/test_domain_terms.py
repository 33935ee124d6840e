"""Terms as they are written, and what a payload must hold."""

from __future__ import annotations

from typing import Any

import pytest

from soma_core.domain.errors import InvalidInput
from soma_core.domain.query import contains
from soma_core.domain.terms import MAX_TERM, MAX_TERMS, Terms, keywords


def share(text: str, *terms: str, **how: Any) -> float:
    return Terms.parse(terms, **how).share(text)


@pytest.mark.parametrize(
    ("text", "term", "how", "held"),
    [
        ("Tabs, not spaces.", "tabs", {}, True),
        ("Tabs, not spaces.", "tabs", {"case_sensitive": True}, False),
        ("Tabs, not spaces.", "Tabs", {"case_sensitive": True}, True),
        ("retabbed", "tab", {}, False),
        ("retabbed", "tab", {"exact": False}, True),
        ("reTABbed", "tab", {"exact": False, "case_sensitive": True}, False),
        ("tab_stop", "tab", {}, False),
        ("tab-stop", "tab", {}, True),
        ("C++ is fast", "c++", {}, True),
        ("C++11", "c++", {}, False),
        ("a.b", "a.b", {}, True),
        ("axb", "a.b", {}, False),
        ("ÄRGER im Büro", "ärger", {}, True),
        ("ÄRGER im Büro", "ärger", {"case_sensitive": True}, False),
        ("Die STRASSE", "straße", {}, True),
        ("über", "ber", {}, False),
        ("new york city", "york city", {}, True),
    ],
)
def test_a_text_holds_a_term(text: str, term: str, how: dict[str, bool], held: bool) -> None:
    assert share(text, term, **how) == held


def test_the_share_is_how_many_of_the_terms_are_held() -> None:
    assert share("red and blue", "red", "blue") == 1
    assert share("red and blue", "red", "green") == 0.5
    assert share("red and blue", "black", "green") == 0


@pytest.mark.parametrize(
    ("values", "how", "field"),
    [
        ("tabs", {}, "terms"),
        ([], {}, "terms"),
        (["a"] * (MAX_TERMS + 1), {}, "terms"),
        (["a", ""], {}, "terms[1]"),
        (["a", 5], {}, "terms[1]"),
        (["a" * (MAX_TERM + 1)], {}, "terms[0]"),
        (["\0"], {}, "terms[0]"),
        (["a"], {"exact": 1}, "exact"),
        (["a"], {"case_sensitive": "no"}, "case_sensitive"),
        (["a"], {"boost": -1}, "boost"),
        (["a"], {"boost": 101}, "boost"),
        (["a"], {"boost": float("nan")}, "boost"),
    ],
)
def test_what_are_no_terms_is_refused_by_name(values: Any, how: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Terms.parse(values, **how)
    assert refusal.value.fields == (field,)


def test_keywords_are_the_longer_words_as_written_and_once_each() -> None:
    found = keywords("Where does Ana keep the HERON files? The Heron files!")
    assert found == ["Where", "does", "keep", "HERON", "files"]
    assert keywords("is it so?") == []
    assert keywords("Überall Bücher") == ["Überall", "Bücher"]


def test_there_are_never_more_keywords_than_terms() -> None:
    assert len(keywords(" ".join(f"word{n}" for n in range(500)))) == MAX_TERMS
    assert keywords("x" * (MAX_TERM + 1)) == []
    assert Terms.parse(keywords("x" * MAX_TERM)).values == ("x" * MAX_TERM,)


@pytest.mark.parametrize(
    ("payload", "wanted", "held"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {}, True),
        ({"a": 1}, {"b": None}, False),
        ({"b": None}, {"b": None}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2}}, False),
        ({"a": 5}, {"a": {"b": 1}}, False),
        ({"a": {"b": 1}}, {"a": 1}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 0}, {"a": False}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": "x"}, {"a": "X"}, False),
    ],
)
def test_a_payload_holds_another(payload: dict[str, Any], wanted: dict[str, Any], held: bool) -> None:
    assert contains(payload, wanted) is held
