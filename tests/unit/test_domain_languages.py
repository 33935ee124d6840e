"""Which language a text is in, and words in scripts without spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_core.domain.languages import STEMMED, detect
from soma_core.domain.unspaced import grams

SENTENCES = {
    "arabic": "ذهبت إلى السوق أمس مع أختي",
    "chinese": "昨天我在北京看到了天气预报。",
    "czech": "Včera jsem byl v kině s mojí sestrou.",
    "danish": "Jeg var i biografen i går med min søster, og bagefter blev vi hjemme hos mig.",
    "dutch": "Gisteren was ik met mijn zus in de bioscoop.",
    "english": "Yesterday I went to the cinema with my sister.",
    "finnish": "Olin eilen elokuvissa siskoni kanssa ja se oli hyvä.",
    "french": "Hier, je suis allée au cinéma avec ma sœur.",
    "german": "Gestern war ich mit meiner Schwester im Kino.",
    "greek": "Χθες πήγα σινεμά με την αδερφή μου",
    "hebrew": "אתמול הלכתי לקולנוע עם אחותי",
    "hindi": "कल मैं अपनी बहन के साथ सिनेमा गया था",
    "hungarian": "Tegnap moziban voltam a nővéremmel, és nagyon jó volt.",
    "indonesian": "Kemarin saya pergi ke bioskop dengan kakak saya.",
    "italian": "Ieri sono andata al cinema con mia sorella.",
    "japanese": "昨日、姉と映画館に行きました。",
    "korean": "어제 언니와 함께 영화관에 갔어요",
    "norwegian": "Jeg var på kino i går med søsteren min, og etterpå spiste vi noe.",
    "polish": "Wczoraj byłem w kinie z moją siostrą.",
    "portuguese": "Ontem eu fui ao cinema com a minha irmã.",
    "romanian": "Ieri am fost la cinema cu sora mea.",
    "russian": "Вчера мы ходили в кино и ели мороженое",
    "spanish": "Ayer fui al cine con mi hermana.",
    "swedish": "Igår var jag på bio med min syster.",
    "thai": "เมื่อวานฉันไปดูหนังกับพี่สาว",
    "turkish": "Dün k\u0131z kardeşimle sinemaya gittim ve çok güzeldi.",
    "vietnamese": "Hôm qua tôi đã đi xem phim với chị gái.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_tells_its_language(language: str) -> None:
    assert detect(SENTENCES[language]) == language
    assert detect(SENTENCES[language].upper()) == language or language in ("greek", "turkish")


def test_every_language_with_stems_can_be_told() -> None:
    assert set(STEMMED) <= SENTENCES.keys()


@pytest.mark.parametrize("text", ["", "12.5 %", "Kafka", "Berlin Hauptbahnhof", "🦊🦊", "xyzzy plugh", "SELECT *;"])
def test_what_tells_no_language_has_none(text: str) -> None:
    assert detect(text) is None


def test_a_foreign_name_or_word_changes_nothing() -> None:
    assert detect("I met Müller and José at the café in São Paulo, and we ate 寿司.") == "english"
    assert detect("Das Meeting mit dem Product Owner ist um drei.") == "german"


@given(st.text(max_size=200))
def test_any_text_has_a_language_or_none(text: str) -> None:
    assert detect(text) in {*SENTENCES, "bengali", "tamil", None}


def test_text_with_spaces_is_left_as_it_is() -> None:
    assert grams("Ärger, naïve café — Кафка 🦊") == ("Ärger, naïve café — Кафка 🦊", [])


def test_runs_without_spaces_become_characters_and_their_pairs() -> None:
    assert grams("Kafka 設定は?") == ("Kafka  ?", ["設", "定", "は", "設定", "定は"])
    assert grams("ﾗｰﾒﾝ")[1] == ["ラ", "ー", "メ", "ン", "ラー", "ーメ", "メン"]


@given(st.text(max_size=100))
def test_any_text_has_grams_and_loses_nothing_else(text: str) -> None:
    rest, pairs = grams(text)
    assert all(len(pair) in (1, 2) for pair in pairs)
    assert pairs or rest == text
