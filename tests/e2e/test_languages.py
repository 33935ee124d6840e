"""Memories in other languages than English: the real engine with a small model of several languages."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from tests.support.graphs import lookup_model

SCOPE = Scope("api_ns")
DOG, TOWN, MEAL = (4.0, 0.0, 0.0, 0.0), (0.0, 4.0, 0.0, 0.0), (0.0, 0.0, 4.0, 0.0)
MEANINGS = {
    "[UNK]": (0.0, 0.0, 0.0, 0.3),
    **dict.fromkeys(["dog", "dogs", "hund", "chien", "chiens"], DOG),
    **dict.fromkeys(["town", "stadt", "städte", "ville"], TOWN),
    **dict.fromkeys(["food", "essen", "manger", "mangé"], MEAL),
}
GERMAN = [
    "Mein Hund heißt Bello und ist sehr alt.",
    "Wir haben die Häuser in der Stadt besichtigt.",
    "Das Essen bei meiner Oma war gut, es gab Knödel.",
]
FRENCH = [
    "Mon chien dort toujours dans la cuisine.",
    "Nous avons visité une belle ville avec des châteaux.",
    "Hier nous avons mangé une soupe avec ma sœur.",
]


def opened(home: Path, language: str, model: Path | None = None) -> Soma:
    return create_memory_system(home=home, language=language, embedding_model=model)


def filled(soma: Soma, texts: list[str]) -> None:
    for text in texts:
        soma.store(SCOPE, NewMemory.parse(text))
    soma.index(SCOPE)


def best(soma: Soma, question: str) -> str:
    found = soma.recall(SCOPE, RecallQuery.parse(question))
    assert found.degraded == []
    return found.hits[0].memory.text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return lookup_model(tmp_path / "model", MEANINGS, languages=["English", "German", "French"])


@pytest.mark.parametrize(
    ("language", "texts", "questions"),
    [
        ("german", GERMAN, {"Welches Haus?": 1, "Wo wohnt der Hund?": 0, "Wo sind die guten Omas?": 2}),
        ("french", FRENCH, {"un château": 1, "les chiens": 0, "des soupes": 2}),
        ("auto", GERMAN + FRENCH, {"Welches Haus?": 1, "un château": 4, "des soupes": 5, "Knödel": 2, "Bello": 0}),
    ],
)
def test_a_folder_and_a_language_find_memories_by_their_stems_and_their_meaning(
    home: Path, model: Path, language: str, texts: list[str], questions: dict[str, int]
) -> None:
    with closing(opened(home, language, model)) as soma:
        filled(soma, texts)
        for question, number in questions.items():
            assert by_words(soma, question) == [texts[number]]
        assert best(soma, "food") in (GERMAN[2], FRENCH[2])
        assert best(soma, "a town") in (GERMAN[1], FRENCH[1])
        status = soma.status(SCOPE)
        assert status.model.startswith("lookup:float32@")
        assert status.health == []


def test_a_changed_language_rebuilds_the_index_from_the_records(home: Path, model: Path) -> None:
    with closing(opened(home, "english", model)) as soma:
        filled(soma, GERMAN)
        assert by_words(soma, "Haus") == []
    with closing(opened(home, "german", model)) as soma:
        assert by_words(soma, "Haus") == [GERMAN[1]], "what waits for the index is found already"
        status = soma.status(SCOPE)
        assert status.pending_words == 3
        assert any("'english', not 'german'" in note and "rebuilt" in note for note in status.health)
        soma.index(SCOPE)
        assert by_words(soma, "Haus") == [GERMAN[1]]
        assert soma.inspect(SCOPE).is_clean
    with closing(opened(home, "german", model)) as soma:
        assert soma.status(SCOPE).pending_words == 0
        assert by_words(soma, "Haus") == [GERMAN[1]]


def by_words(soma: Soma, question: str) -> list[str]:
    found = soma.recall(SCOPE, RecallQuery.parse(question))
    return [hit.memory.text for hit in found.hits if hit.parts.lexical > 0]


def test_texts_in_scripts_without_spaces_are_found_by_their_words(home: Path, model: Path) -> None:
    texts = ["昨日、東京でラーメンを食べました。", "我的猫叫小白。", "ฉันมีแมวสีดำตัวหนึ่ง", "어제 서울에서 친구를 만났어요"]
    with closing(opened(home, "english", model)) as soma:
        filled(soma, texts)
        for question, text in zip(["東京", "猫", "แมวสีดำ", "서울"], texts, strict=True):
            assert by_words(soma, question) == [text]


def test_the_packaged_model_says_that_it_knows_english_only(home: Path) -> None:
    with closing(opened(home, "auto")) as soma:
        for text in GERMAN:
            soma.store(SCOPE, NewMemory.parse(text))
        (note,) = [note for note in soma.status(SCOPE).health if "german" in note]
        assert "bge-small-en-v1.5:int8 knows english only" in note
