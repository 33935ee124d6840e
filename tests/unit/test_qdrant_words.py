"""What the lexical arm makes of texts in several languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_core.adapters.qdrant.words import FOREIGN, Words
from soma_core.domain.errors import InvalidInput
from soma_core.domain.languages import AUTO, NONE, STEMMED

AUTOMATIC = Words(AUTO)


def meet(query: str, text: str, language: str = AUTO) -> float:
    """The weight that the words of a question have in common with a text, without how rare they are."""
    words = Words(language)
    asked, kept = words.query(query), words.document(text)
    weights = dict(zip(kept.indices, kept.values, strict=True))
    return sum(value * weights.get(index, 0.0) for index, value in zip(asked.indices, asked.values, strict=True))


@pytest.mark.parametrize("language", ["klingon", "English", ""])
def test_another_language_is_refused(language: str) -> None:
    with pytest.raises(InvalidInput, match="language"):
        Words(language)


@pytest.mark.parametrize(
    ("language", "query", "text"),
    [
        ("english", "running dogs", "the dog ran: it runs"),
        ("german", "Häuser", "Wir haben das Haus von meiner Oma gekauft."),
        ("german", "Wo stehen die Häuser?", "Wir haben das Haus von meiner Oma gekauft."),
        ("french", "chanter", "Nous avons chanté pour ma sœur et ses amis."),
        ("spanish", "gatos", "Mi gato es muy bueno y no come."),
        ("russian", "собаки", "Моя собака любит гулять."),
    ],
)
def test_inflected_words_meet_in_their_own_language_and_when_it_is_detected(
    language: str, query: str, text: str
) -> None:
    assert meet(query, text, language) > 0
    assert meet(query, text) > 0
    assert meet(query, text, NONE) == 0


WORDS = ["Häuser", "dogs", "Kafka", "brokers", "chats", "gatos", "und", "the", "собаки", "東京", "17", "deploying"]


@given(st.lists(st.sampled_from(WORDS), min_size=1))
def test_a_word_meets_itself_whatever_language_the_text_is_taken_for(words: list[str]) -> None:
    for word in set(words) - {"und", "the"}:
        assert meet(word, " ".join(words)) > 0


def test_a_name_is_found_across_languages() -> None:
    text = "Der Kafka Broker von unserem Kunden ist gestern ausgefallen."
    assert meet("What happened to the Kafka broker?", text) > 0
    assert AUTOMATIC.overlaps("Kafka brokers", [text, "The Kafka broker of our customer has failed."]) == [1.0, 1.0]


def test_words_of_the_questions_own_language_weigh_most() -> None:
    found = AUTOMATIC.query("Where did we go running with the dogs?")
    own = Words("english").query("Where did we go running with the dogs?")
    weights = dict(zip(found.indices, found.values, strict=True))
    assert {weights[index] for index in own.indices} == {1.0}
    assert {weight for index, weight in weights.items() if index not in set(own.indices)} == {FOREIGN}


def test_a_question_of_stop_words_has_nothing_to_look_for() -> None:
    assert not AUTOMATIC.query("what was that with the").indices
    assert not Words("english").query("").indices
    assert AUTOMATIC.overlaps("", ["text"]) == [0.0]


@pytest.mark.parametrize("language", ["english", AUTO, NONE])
@pytest.mark.parametrize(
    ("query", "text", "other"),
    [
        ("東京", "昨日、東京でおいしいラーメンを食べました。", "来月、京都へ出張する予定です。"),
        ("大学の図書館はどこ", "大学の図書館で本を借りた。", "昨日ラーメンを食べました。"),
        ("猫", "我的猫叫小白。", "他在清华大学学习物理。"),
        ("北京天气", "昨天我在北京看到了天气预报。", "他在清华大学学习物理。"),
        ("แมวสีดำ", "ฉันมีแมวสีดำตัวหนึ่งชื่อบลู", "เมื่อวานไปดูหนัง"),
        ("서울", "어제 서울에서 친구를 만났어요", "내일 부산에 갑니다"),
    ],
)
def test_words_in_scripts_without_spaces_are_found(language: str, query: str, text: str, other: str) -> None:
    assert meet(query, text, language) > meet(query, other, language)
    found, rest = Words(language).overlaps(query, [text, other])
    assert found > rest


def test_latin_words_beside_other_scripts_keep_their_stems() -> None:
    assert meet("Kafka brokers", "Kafka broker の設定", "english") > meet("Kafka brokers", "Kafka の設定", "english")


def test_texts_of_the_set_language_are_encoded_as_the_engine_does_it() -> None:
    assert len(STEMMED) == 17
    assert (
        Words("english").document("The dogs, 17 of them").indices == AUTOMATIC.document("The dogs, 17 of them").indices
    )
