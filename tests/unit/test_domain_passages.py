"""Passages: nothing is lost, nothing is too long, and no text is slow."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from soma_core.domain.passages import OVERLAP_WORDS, PASSAGE_CHARS, PASSAGE_WORDS, dated, split_passages, spoken
from soma_core.domain.validation import MAX_TEXT_BYTES


def test_a_short_text_is_one_passage() -> None:
    assert split_passages(" Ana likes tea. Bob does not. ") == ["Ana likes tea. Bob does not."]


def test_a_long_text_is_cut_between_sentences() -> None:
    passages = split_passages("One two three four five. " * 100)
    assert len(passages) == 4
    assert all(passage.endswith("five.") and len(passage.split()) <= PASSAGE_WORDS for passage in passages)


def test_a_passage_begins_with_the_last_sentences_of_the_one_before() -> None:
    sentences = [f"Sentence {number} has just these seven words." for number in range(60)]
    first, second, *_ = split_passages(" ".join(sentences))
    common = [sentence for sentence in sentences if sentence in first and sentence in second]
    assert sum(len(sentence.split()) for sentence in common) in range(20, OVERLAP_WORDS + 1)
    assert first.endswith(common[-1])
    assert second.startswith(common[0])


def test_a_sentence_that_is_too_long_to_repeat_is_not_repeated() -> None:
    passages = split_passages(("word " * 99 + "end. ") * 4)
    assert [len(passage.split()) for passage in passages] == [100] * 4


def test_a_long_blank_text_has_no_passage() -> None:
    assert split_passages("\n" * 4_000) == []


def test_a_text_without_spaces_is_cut_at_characters() -> None:
    passages = split_passages("記" * 4_000)
    assert "".join(passages) == "記" * 4_000
    assert max(map(len, passages)) <= PASSAGE_CHARS


def test_a_blank_text_has_no_passage() -> None:
    assert split_passages(" \n\t ") == []


@pytest.mark.parametrize("text", ["!", ".", "a", "a ", "a. ", "\n", "?!", '."', ".)", "!x"], ids=repr)
def test_the_largest_text_of_any_kind_is_split_in_a_moment(text: str) -> None:
    # An eighth of the largest text: what grows with the square shows here without taking a minute.
    started = time.process_time()
    split_passages((text * MAX_TEXT_BYTES)[: MAX_TEXT_BYTES // 8])
    assert time.process_time() - started < 0.2


def test_what_is_indexed_says_the_day_and_who_spoke() -> None:
    day = datetime(2026, 3, 4, 23, tzinfo=UTC)
    assert dated("tea", "Ana", day) == "4 March 2026 Ana: tea"
    assert dated("tea", None, day) == "4 March 2026 tea"
    assert (spoken("tea", "Ana"), spoken("tea", None)) == ("Ana: tea", "tea")
