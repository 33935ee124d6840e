"""What is said of languages that the model or the search by words does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soma_core.domain.languages import AUTO, NONE
from soma_core.services.languages import SAMPLE, Languages
from tests.support.engine import NAMESPACE, Engine, opened

GERMAN = "Gestern war ich mit meiner Schwester im Kino, Nummer"
FRENCH = "Hier, nous avons mangé avec ma sœur et son ami, le"
POLISH = "Wczoraj byłem w kinie z moją siostrą, numer"
ENGLISH = "Yesterday I went to the cinema with my sister, number"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


def looking(engine: Engine, *, knows: tuple[str, ...] = ("english",), stems: str = "english") -> Languages:
    return Languages(engine.records, engine.records.log(), model="small:int8", knows=knows, stems=stems)


def store(engine: Engine, text: str, times: int) -> None:
    for number in range(times):
        engine.store(f"{text} {number}")


def test_memories_of_the_known_language_are_nothing_to_speak_of(engine: Engine) -> None:
    assert looking(engine).notices(NAMESPACE) == []
    store(engine, ENGLISH, 5)
    store(engine, "12345", 5)
    assert looking(engine).notices(NAMESPACE) == []


def test_another_language_is_said_of_the_model_and_of_the_stems(engine: Engine) -> None:
    store(engine, GERMAN, 4)
    model, stems = looking(engine).notices(NAMESPACE)
    assert "4 are german" in model
    assert "small:int8 knows english only" in model
    assert "SOMA_EMBEDDING_MODEL" in model
    assert "SOMA_LANGUAGE=english" in stems
    assert stems.endswith("set SOMA_LANGUAGE=german")


def test_several_languages_want_each_text_its_own(engine: Engine) -> None:
    store(engine, GERMAN, 3)
    store(engine, FRENCH, 4)
    store(engine, ENGLISH, 3)
    model, stems = looking(engine).notices(NAMESPACE)
    assert "of the newest 10 memories 4 are french, 3 are german" in model
    assert stems.endswith("set SOMA_LANGUAGE=auto")


@pytest.mark.parametrize("stems", ["german", AUTO, NONE])
def test_a_fitting_setting_leaves_the_model_to_be_said(engine: Engine, stems: str) -> None:
    store(engine, GERMAN, 4)
    assert len(looking(engine, stems=stems).notices(NAMESPACE)) == 1
    assert looking(engine, stems=stems, knows=("english", "german")).notices(NAMESPACE) == []


def test_a_model_that_does_not_say_what_it_knows_is_not_doubted(engine: Engine) -> None:
    store(engine, GERMAN, 4)
    assert looking(engine, knows=(), stems=AUTO).notices(NAMESPACE) == []


def test_a_language_without_stems_concerns_the_model_only(engine: Engine) -> None:
    store(engine, POLISH, 4)
    (model,) = looking(engine).notices(NAMESPACE)
    assert "4 are polish" in model


@pytest.mark.parametrize(("german", "english"), [(2, 0), (5, 30)])
def test_a_few_memories_are_not_worth_a_word(engine: Engine, german: int, english: int) -> None:
    store(engine, GERMAN, german)
    store(engine, ENGLISH, english)
    assert looking(engine).notices(NAMESPACE) == []


def test_only_the_newest_are_looked_at_and_again_when_there_are_more(engine: Engine) -> None:
    store(engine, GERMAN, 4)
    found = looking(engine)
    assert len(found.notices(NAMESPACE)) == 2
    engine.clock.now = engine.clock.now.replace(year=engine.clock.now.year + 1)
    store(engine, ENGLISH, SAMPLE)
    assert found.notices(NAMESPACE) == []


def test_the_texts_are_read_once_for_each_state(engine: Engine) -> None:
    store(engine, GERMAN, 4)
    found, reads = looking(engine), []
    browse = engine.records.browse

    def counted(*given: Any) -> Any:
        reads.append(given)
        return browse(*given)

    engine.records.browse = counted
    assert found.notices(NAMESPACE) == found.notices(NAMESPACE)
    assert len(reads) == 1
