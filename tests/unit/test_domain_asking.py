"""What a question names and asks for."""

from __future__ import annotations

import pytest

from soma_core.domain.asking import (
    MOST_NAMES,
    in_first_person,
    named_speakers,
    possible_names,
    wants_assistant,
)

SPEAKERS = ["Ana", "Ben Okri", "May", "Will", "Zoë", "user", "assistant", "AI", "", "C++", "An"]


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("When did Ana move?", {"Ana"}),
        ("Is it Ana's or Ben\u2019s?", {"Ana", "Ben Okri"}),
        ("What does Ben Okri think of Zoë?", {"Ben Okri", "Zoë"}),
        ("what did ana say?", {"Ana"}),
        ("How do I mark it with an anagram?", set()),
        ("What will happen?", set()),
        ("what will ana do in may?", {"Ana"}),
        ("Will it rain? May I go?", set()),
        ("What did Will say?", {"Will"}),
        ("What happened in May, and on 3 May?", set()),
        ("What did May buy?", {"May"}),
        ("What did the user ask the assistant? Which AI?", set()),
        ("Mail to Ana@example.org", set()),
        ("What does C++ say?", {"C++"}),
        ("", set()),
    ],
)
def test_a_speaker_is_named_by_the_whole_or_the_first_name(question: str, named: set[str]) -> None:
    assert named_speakers(question, SPEAKERS) == named


@pytest.mark.parametrize(
    ("question", "put"),
    [
        ("When did Ana move to Oslo?", "When did I move to Oslo?"),
        ("What are Ana's hobbies?", "What are my hobbies?"),
        ("What do Ana and Ben\u2019s wife share?", "What do I and my wife share?"),
        ("Where does Ben Okri live?", "Where does I live?"),
        ("What happened in May?", "What happened in May?"),
    ],
)
def test_a_question_about_a_speaker_is_put_as_the_speaker_would(question: str, put: str) -> None:
    assert in_first_person(question, named_speakers(question, SPEAKERS)) == put


def test_nobody_named_leaves_a_question_as_it_is() -> None:
    assert in_first_person("When did Ana move?", []) == "When did Ana move?"


def test_possible_names_are_words_with_a_capital_that_are_not_common() -> None:
    assert possible_names("What did Ana tell Zoë, and Ana's AI, in Oslo?") == ["Ana", "Zoë", "Oslo"]
    assert possible_names("what did ana tell zoë?") == ["Ana", "Zoë"]
    assert possible_names("") == possible_names("?! 42") == []
    assert len(possible_names(" ".join(f"Name{chr(97 + n)}" for n in range(26)))) == MOST_NAMES


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Can you give me a summary of my project?", True),
        ("What did you recommend for dinner?", True),
        ("Remind me of the shop we talked about", True),
        ("You\u2019ve suggested a book, which?", True),
        ("What would the assistant do?", True),
        ("Can you list the libraries I use?", False),
        ("What would you suggest I take?", False),
        ("What did Ana recommend?", False),
        ("", False),
    ],
)
def test_an_assistants_words_are_wanted_where_the_question_asks_for_them(question: str, wanted: bool) -> None:
    assert wants_assistant(question) is wanted
