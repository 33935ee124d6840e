"""What every `VectorIndex` does."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest

from soma_core.domain.memory import MemoryType, uuid7
from soma_core.domain.query import Filter
from soma_core.ports.index import Checkpoint, Indexed, IndexPoint, IndexQuery, Match, VectorIndex

DIMENSIONS = 64
NAMESPACE = "api_ns"
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
STRANGE_NAMES = [
    'it\'s "quoted"; DROP TABLE--',
    "100%_sure?",
    "../../etc/passwd",
    "a/b\\c:d*e",
    "naïve 🦊 記憶",
    "n" * 1_000,
    "\x01 \n\t",
    "CON",
]

Reopen = Callable[..., VectorIndex]


def memory(number: int) -> UUID:
    return UUID(int=number)


def unit(seed: object) -> list[float]:
    """A random vector of unit length, always the same for the same seed."""
    return list(_unit(str(seed)))


@cache
def _unit(seed: str) -> tuple[float, ...]:
    rng = random.Random(seed)
    vector = [rng.gauss(0, 1) for _ in range(DIMENSIONS)]
    length = math.sqrt(sum(x * x for x in vector))
    return tuple(x / length for x in vector)


def between(a: Sequence[float], b: Sequence[float], share: float) -> list[float]:
    """A unit vector whose cosine with `a` falls as `share` rises from 0 to 1."""
    mixed = [(1 - share) * x + share * y for x, y in zip(a, b, strict=True)]
    length = math.sqrt(sum(x * x for x in mixed))
    return [x / length for x in mixed]


def point(number: int, words: str = "something", **changes: Any) -> IndexPoint:
    """A current point of a memory's first version and passage; `changes` are fields of it."""
    fields: dict[str, Any] = {
        "memory_id": memory(number),
        "version": 1,
        "passage": 0,
        "words": words,
        "vector": unit(number),
        "current": True,
        "type": MemoryType.EPISODIC,
        "tags": (),
        "thread": None,
        "speaker": None,
        "occurred_at": NOON,
    }
    return IndexPoint(**{**fields, **changes})


def keys(matches: Iterable[Match]) -> list[tuple[int, int, int]]:
    return [(match.memory, match.version, match.passage) for match in matches]


def lexical(
    index: VectorIndex, words: str, *, namespace: str = NAMESPACE, limit: int = 100, **filter: Any
) -> list[int]:
    """The numbers of the memories that the lexical arm finds, best first."""
    found = index.search(namespace, IndexQuery(words, None, limit, Filter(**filter)))
    assert not found.dense
    return [match.memory for match in found.lexical]


def dense(
    index: VectorIndex, vector: Sequence[float], *, namespace: str = NAMESPACE, limit: int = 100, **filter: Any
) -> list[int]:
    """The numbers of the memories that the dense arm finds, best first."""
    found = index.search(namespace, IndexQuery("", vector, limit, Filter(**filter)))
    assert not found.lexical
    return [match.memory for match in found.dense]


def held(index: VectorIndex, namespace: str = NAMESPACE) -> list[Indexed]:
    return sorted(index.points(namespace), key=lambda found: (found.memory_id.int, found.version, found.passage))


class IndexContract:
    """A subclass gives `index`, an empty one, and `reopen`, which closes it and opens another on the same data.

    `reopen` takes `store_id` and `model_id`, the same as before where they are not given, and `sparse_model_id`; where
    that is not given there is no learned arm. The index keeps at most four namespaces at hand.
    """

    for_threads = True
    """Whether it may be called from many threads at once."""

    @pytest.fixture
    def index(self) -> VectorIndex:
        raise NotImplementedError

    @pytest.fixture
    def reopen(self) -> Reopen:
        raise NotImplementedError

    # put

    def test_a_point_is_found_by_its_words_and_by_its_vector(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "the deploy failed on friday"), point(2, "anna likes tea")])
        found = index.search(NAMESPACE, IndexQuery("when did the deploy fail", unit(1), 10))
        assert keys(found.lexical) == [(1, 1, 0)]
        assert keys(found.dense)[0] == (1, 1, 0)

    def test_a_point_without_a_vector_is_found_by_its_words_only(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka broker", vector=None), point(2, "anna likes tea")])
        assert lexical(index, "kafka") == [1]
        assert dense(index, unit(1)) == [2]

    def test_a_point_put_again_with_its_vector_is_found_by_that_too(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka broker", vector=None)])
        index.put(NAMESPACE, [point(1, "kafka broker")])
        assert lexical(index, "kafka") == [1]
        assert dense(index, unit(1)) == [1]
        assert len(held(index)) == 1

    def test_a_point_put_again_is_replaced(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka broker", tags=("old",), occurred_at=NOON)])
        index.put(NAMESPACE, [point(1, "postgres replica", vector=unit("other"), tags=("new",))])
        assert lexical(index, "kafka") == []
        assert lexical(index, "postgres", tags=("new",)) == [1]
        assert lexical(index, "postgres", tags=("old",)) == []
        best = index.search(NAMESPACE, IndexQuery("", unit("other"), 1)).dense[0]
        assert best.score == pytest.approx(1.0, abs=0.01)

    def test_a_point_put_again_without_its_vector_loses_it(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1)])
        index.put(NAMESPACE, [point(1, vector=None)])
        assert dense(index, unit(1)) == []

    def test_putting_the_same_points_again_changes_nothing(self, index: VectorIndex) -> None:
        points = [point(n, f"word{n % 3} and more") for n in range(1, 60)]
        index.put(NAMESPACE, points)
        query = IndexQuery("word1 word2", unit("q"), 20)
        before, points_before = index.search(NAMESPACE, query), held(index)
        index.put(NAMESPACE, points)
        after = index.search(NAMESPACE, query)
        assert held(index) == points_before
        assert keys(after.dense) == keys(before.dense)
        assert keys(after.lexical) == keys(before.lexical)

    def test_of_a_point_that_comes_twice_in_one_call_the_last_is_kept(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka broker"), point(1, "postgres replica")])
        assert lexical(index, "kafka") == []
        assert lexical(index, "postgres") == [1]

    def test_passages_of_a_memory_are_found_one_by_one(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka broker", passage=0), point(1, "kafka topic", passage=1)])
        found = index.search(NAMESPACE, IndexQuery("kafka topic", None, 10))
        assert keys(found.lexical) == [(1, 1, 1), (1, 1, 0)]

    def test_memories_of_any_kind_of_id_versions_and_passages_are_told_apart(self, index: VectorIndex) -> None:
        timed = uuid7().int
        kinds = [UUID(int=timed & ~(15 << 76) | kind << 76) for kind in range(16)]  # alike but for the kind of UUID
        names = sorted((key.int, version, passage) for key in kinds for version in (1, 2) for passage in range(11))
        index.put(NAMESPACE, [point(0, "kafka", memory_id=UUID(int=key), version=v, passage=p) for key, v, p in names])
        assert [(each.memory_id.int, each.version, each.passage) for each in held(index)] == names
        for query in (IndexQuery("kafka", None, 1_000), IndexQuery("", unit(0), 1_000)):
            found = index.search(NAMESPACE, query)
            assert [match[:3] for match in (*found.lexical, *found.dense)] == names

    def test_nothing_to_put_is_no_error(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [])
        assert held(index) == []

    def test_many_points_can_be_put_at_once(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n, f"unique{n}") for n in range(1, 1_203)])
        assert len(held(index)) == 1_202
        assert lexical(index, "unique1202") == [1_202]

    def test_a_point_of_stop_words_is_found_by_its_vector(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "it is what it is"), point(2, "anna likes tea"), point(3, "")])
        assert lexical(index, "it is what it is") == []
        assert dense(index, unit(1))[0] == 1
        assert dense(index, unit(3))[0] == 3

    def test_words_match_by_their_stem_and_without_accents_and_case(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "The CAFÉ keeps deploying"), point(2, "記憶 naïve 🦊")])
        assert lexical(index, "cafe deployed") == [1]
        assert lexical(index, "naive") == [2]

    # retire, remove

    def test_retire_takes_lower_versions_out_of_the_current_scope(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka one", passage=p) for p in (0, 1)])
        index.put(NAMESPACE, [point(1, "kafka two", version=2), point(1, "kafka three", version=3)])
        index.put(NAMESPACE, [point(2, "kafka other")])
        index.retire(NAMESPACE, memory(1), 3)
        found = index.search(NAMESPACE, IndexQuery("kafka", unit(1), 10))
        assert sorted(keys(found.lexical)) == sorted(keys(found.dense)) == [(1, 3, 0), (2, 1, 0)]
        assert [(p.version, p.passage, p.current) for p in held(index)] == [
            (1, 0, False),
            (1, 1, False),
            (2, 0, False),
            (3, 0, True),
            (1, 0, True),
        ]

    def test_points_put_as_not_current_are_not_found(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka", current=False), point(1, "kafka", version=2)])
        found = index.search(NAMESPACE, IndexQuery("kafka", unit(1), 10))
        assert keys(found.lexical) == keys(found.dense) == [(1, 2, 0)]

    def test_remove_deletes_the_versions_below_and_nothing_else(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka", version=v, passage=p) for v in (1, 2, 3) for p in (0, 1)])
        index.put(NAMESPACE, [point(2, "kafka")])
        index.remove(NAMESPACE, memory(1), 3)
        assert [(p.memory_id.int, p.version) for p in held(index)] == [(1, 3), (1, 3), (2, 1)]
        assert sorted(set(lexical(index, "kafka"))) == [1, 2]

    def test_a_removed_point_can_be_put_again(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka")])
        index.remove(NAMESPACE, memory(1), 2)
        assert lexical(index, "kafka") == dense(index, unit(1)) == []
        index.put(NAMESPACE, [point(1, "kafka")])
        assert lexical(index, "kafka") == dense(index, unit(1)) == [1]

    @pytest.mark.parametrize("namespace", [NAMESPACE, "never used"])
    def test_an_unknown_memory_is_no_error(self, index: VectorIndex, namespace: str) -> None:
        index.put(NAMESPACE, [point(1)])
        index.retire(namespace, memory(9), 5)
        index.remove(namespace, memory(9), 5)
        assert len(held(index)) == 1

    # search

    def test_each_arm_is_ordered_best_first(self, index: VectorIndex) -> None:
        a, b = unit("a"), unit("b")
        index.put(
            NAMESPACE, [point(n, "kafka " * n + "tea " * (9 - n), vector=between(a, b, n / 10)) for n in (5, 1, 8)]
        )
        found = index.search(NAMESPACE, IndexQuery("kafka", a, 10))
        assert keys(found.dense) == [(1, 1, 0), (5, 1, 0), (8, 1, 0)]
        assert keys(found.lexical) == [(8, 1, 0), (5, 1, 0), (1, 1, 0)]
        for arm in (found.dense, found.lexical):
            scores = [match.score for match in arm]
            assert scores == sorted(scores, reverse=True)

    def test_dense_scores_are_cosines(self, index: VectorIndex) -> None:
        a, b = unit("a"), unit("b")
        vectors = [between(a, b, share / 20) for share in range(20)]
        index.put(NAMESPACE, [point(n, vector=vector) for n, vector in enumerate(vectors)])
        for match in index.search(NAMESPACE, IndexQuery("", a, 20)).dense:
            cosine = sum(x * y for x, y in zip(a, vectors[match.memory], strict=True))
            assert match.score == pytest.approx(cosine, abs=0.002)

    def test_the_dense_arm_finds_what_an_exact_search_finds(self, index: VectorIndex) -> None:
        vectors = [unit(n) for n in range(400)]
        index.put(NAMESPACE, [point(n, vector=vector) for n, vector in enumerate(vectors)])
        hits = 0
        for q in range(20):
            query = unit(f"query {q}")
            by_cosine = sorted(range(400), key=lambda n: -sum(x * y for x, y in zip(query, vectors[n], strict=True)))
            hits += len(set(by_cosine[:10]) & set(dense(index, query, limit=10)))
        assert hits >= 190

    def test_equal_scores_are_in_order_of_memory_version_and_passage(self, index: VectorIndex) -> None:
        same = unit("same")
        numbers = [(n, v, p) for n in range(1, 6) for v in (1, 2) for p in (0, 1, 2)]
        points = [point(n, "kafka", version=v, passage=p, vector=same) for n, v, p in numbers]
        random.Random(1).shuffle(points)
        index.put(NAMESPACE, points)
        found = index.search(NAMESPACE, IndexQuery("kafka", same, 100))
        assert keys(found.dense) == keys(found.lexical) == numbers

    def test_the_limit_holds_for_each_arm(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n, "kafka") for n in range(1, 31)])
        found = index.search(NAMESPACE, IndexQuery("kafka", unit("q"), 7))
        assert (len(found.dense), len(found.lexical)) == (7, 7)

    @pytest.mark.parametrize("words", ["", "   ", "?!", "the of and"])
    def test_a_question_without_words_leaves_the_lexical_arm_empty(self, index: VectorIndex, words: str) -> None:
        index.put(NAMESPACE, [point(1, "the kafka of and")])
        found = index.search(NAMESPACE, IndexQuery(words, unit(1), 10))
        assert (keys(found.dense), list(found.lexical)) == ([(1, 1, 0)], [])

    def test_a_question_without_anything_finds_nothing(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1)])
        found = index.search(NAMESPACE, IndexQuery("", None, 10))
        assert (list(found.dense), list(found.lexical)) == ([], [])

    def test_the_learned_arm_finds_current_points_by_the_product_of_their_weights(self, reopen: Reopen) -> None:
        index = reopen(sparse_model_id="splade")
        weights = {1: {7: 2.0, 30_000: 1.0}, 2: {7: 0.5}, 3: {8: 9.0}, 4: {7: 3.0}, 5: {}, 6: None}
        index.put(NAMESPACE, [point(n, learned=learned, tags=(str(n % 2),)) for n, learned in weights.items()])
        index.retire(NAMESPACE, memory(4), 2)
        found = index.search(NAMESPACE, IndexQuery("kafka", None, 10, learned={7: 2.0, 30_000: 0.25, 9: 4.0}))
        assert (list(found.dense), list(found.lexical)) == ([], [])
        assert [(match.memory, match.score) for match in found.learned] == [(1, 4.25), (2, 1.0)]
        query = IndexQuery("", None, 1, Filter(tags=("0",)), learned={7: 1.0})
        assert keys(index.search(NAMESPACE, query).learned) == [(2, 1, 0)]

    def test_the_learned_arm_leaves_the_other_arms_as_they_are(self, reopen: Reopen) -> None:
        query = IndexQuery("kafka unique7", unit(7), 20)
        points = [point(n, f"kafka unique{n}", learned={n: 1.0}) for n in range(1, 20)]
        index = reopen()
        index.put(NAMESPACE, points)
        without = index.search(NAMESPACE, replace(query, learned={7: 1.0}))
        assert list(without.learned) == [], "an index that was made without it has none"
        index = reopen(sparse_model_id="splade")
        index.put(NAMESPACE, points)
        found = index.search(NAMESPACE, replace(query, learned={7: 1.0}))
        assert keys(found.learned) == [(7, 1, 0)]
        assert (found.dense, found.lexical) == (without.dense, without.lexical)

    def test_an_index_of_another_sparse_model_starts_empty(self, reopen: Reopen) -> None:
        for sparse_model_id in (None, "splade", "other", None):
            index = reopen(sparse_model_id=sparse_model_id)
            assert index.checkpoint(NAMESPACE) == Checkpoint()
            index.put(NAMESPACE, [point(1, learned={7: 1.0})])
            index.flush(NAMESPACE, Checkpoint(1, 1))
            again = reopen(sparse_model_id=sparse_model_id)
            assert again.checkpoint(NAMESPACE) == Checkpoint(1, 1)
            found = again.search(NAMESPACE, IndexQuery("", None, 10, learned={7: 1.0})).learned
            assert keys(found) == ([(1, 1, 0)] if sparse_model_id else [])

    def test_the_dense_arm_of_a_namespace_without_vectors_is_empty(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, vector=None)])
        assert dense(index, unit(1)) == []

    def test_a_namespace_without_an_index_has_no_matches_and_gets_none(self, index: VectorIndex) -> None:
        found = index.search("never used", IndexQuery("kafka", unit(1), 10))
        assert (list(found.dense), list(found.lexical)) == ([], [])
        assert not index.is_open("never used")

    def test_a_rare_word_weighs_more_than_a_common_one(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n, "tea time") for n in range(1, 30)] + [point(99, "kafka time")])
        assert lexical(index, "tea kafka")[0] == 99

    def test_how_rare_a_word_is_depends_on_its_namespace_alone(self, index: VectorIndex) -> None:
        index.put("one", [point(1, "tea"), *(point(n, "coffee") for n in range(2, 20))])
        before = index.search("one", IndexQuery("tea", None, 1)).lexical[0].score
        index.put("two", [point(n, "tea") for n in range(1, 50)])
        assert index.search("one", IndexQuery("tea", None, 1)).lexical[0].score == before

    def test_points_that_were_removed_no_longer_count_in_how_rare_a_word_is(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n, "tea" if n < 20 else "coffee") for n in range(1, 40)])
        index.put("never more", [point(n, "tea" if n < 5 else "coffee") for n in range(1, 25)])
        for number in range(5, 20):
            index.remove(NAMESPACE, memory(number), 2)
        scores = [index.search(name, IndexQuery("tea", None, 1)).lexical[0].score for name in (NAMESPACE, "never more")]
        assert scores[0] == scores[1]

    def test_points_that_were_written_twice_count_once_in_how_rare_a_word_is(self, index: VectorIndex) -> None:
        points = [point(n, "tea" if n < 20 else "coffee") for n in range(1, 40)]
        index.put("once", points)
        for _ in range(2):
            index.put(NAMESPACE, points)
        scores = [index.search(name, IndexQuery("tea", None, 1)).lexical[0].score for name in (NAMESPACE, "once")]
        assert scores[0] == scores[1]

    # filters

    def test_types_are_alternatives(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n, "kafka", type=kind) for n, kind in enumerate(MemoryType, 1)])
        wanted = (MemoryType.EPISODIC, MemoryType.PROCEDURAL)
        assert lexical(index, "kafka", types=wanted) == [1, 3]
        assert lexical(index, "kafka", types=(MemoryType.SEMANTIC,)) == [2]
        assert sorted(dense(index, unit("q"), types=wanted)) == [1, 3]

    def test_every_tag_must_be_there(self, index: VectorIndex) -> None:
        tags = {1: ("a",), 2: ("b", "a"), 3: ("a", "b", "c"), 4: ()}
        index.put(NAMESPACE, [point(n, "kafka", tags=t) for n, t in tags.items()])
        assert lexical(index, "kafka", tags=("a",)) == [1, 2, 3]
        assert lexical(index, "kafka", tags=("a", "b")) == [2, 3]
        assert sorted(dense(index, unit("q"), tags=("c", "a"))) == [3]
        assert lexical(index, "kafka", tags=("a", "none")) == []

    @pytest.mark.parametrize("field", ["thread", "speaker"])
    def test_thread_and_speaker_must_be_equal(self, index: VectorIndex, field: str) -> None:
        values = {1: "anna", 2: "Anna", 3: None, 4: "anna karenina", 5: "it's 🦊 100%"}
        index.put(NAMESPACE, [point(n, "kafka", **{field: value}) for n, value in values.items()])
        for number, value in values.items():
            wanted: dict[str, Any] = {field: value}
            expected = [1, 2, 3, 4, 5] if value is None else [number]
            assert lexical(index, "kafka", **wanted) == expected
            assert sorted(dense(index, unit("q"), **wanted)) == expected

    def test_values_of_one_field_are_not_taken_for_those_of_another(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1, "kafka", tags=("x",)), point(2, "kafka", thread="x")])
        index.put(NAMESPACE, [point(3, "kafka", speaker="x"), point(4, "kafka", tags=("thread=x", "type=semantic"))])
        assert lexical(index, "kafka", tags=("x",)) == [1]
        assert lexical(index, "kafka", thread="x") == [2]
        assert lexical(index, "kafka", speaker="x") == [3]
        assert lexical(index, "kafka", types=(MemoryType.SEMANTIC,)) == []

    @pytest.mark.parametrize("base", [NOON, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
    def test_since_is_inclusive_and_until_exclusive_to_the_microsecond(
        self, index: VectorIndex, base: datetime
    ) -> None:
        index.put(NAMESPACE, [point(n, "kafka", occurred_at=base + n * MICROSECOND) for n in range(1, 6)])
        assert lexical(index, "kafka", since=base + 3 * MICROSECOND) == [3, 4, 5]
        assert lexical(index, "kafka", until=base + 3 * MICROSECOND) == [1, 2]
        assert lexical(index, "kafka", since=base + 2 * MICROSECOND, until=base + 4 * MICROSECOND) == [2, 3]
        assert sorted(dense(index, unit("q"), since=base + 5 * MICROSECOND)) == [5]

    def test_all_conditions_must_hold(self, index: VectorIndex) -> None:
        wanted: dict[str, Any] = {"tags": ("a", "b"), "thread": "t", "speaker": "s", "type": MemoryType.SEMANTIC}
        wrong: list[dict[str, Any]] = [
            {"tags": ("a",)},
            {"thread": "u"},
            {"speaker": None},
            {"type": MemoryType.EPISODIC},
        ]
        wrong.append({"occurred_at": NOON + timedelta(days=1)})
        index.put(NAMESPACE, [point(1, "kafka", **wanted)])
        index.put(NAMESPACE, [point(n, "kafka", **{**wanted, **change}) for n, change in enumerate(wrong, 2)])
        found = lexical(
            index,
            "kafka",
            tags=("b", "a"),
            thread="t",
            speaker="s",
            types=(MemoryType.SEMANTIC,),
            since=NOON,
            until=NOON + timedelta(hours=1),
        )
        assert found == [1]

    def test_a_filter_narrows_before_the_limit_does(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n, "kafka kafka", vector=unit("q")) for n in range(1, 200)])
        index.put(NAMESPACE, [point(n, "kafka and much other tea", tags=("rare",)) for n in (900, 901)])
        assert lexical(index, "kafka", limit=5, tags=("rare",)) == [900, 901]
        assert sorted(dense(index, unit("q"), limit=5, tags=("rare",))) == [900, 901]

    # overlap

    def test_overlap_is_the_share_of_the_questions_words_that_a_text_holds(self, index: VectorIndex) -> None:
        texts = ["Anna deployed Kafka", "kafka kafka kafka", "tea", ""]
        assert index.overlap("is anna deploying the kafka?", texts) == pytest.approx([1, 1 / 3, 0, 0])

    def test_overlap_with_a_question_without_words_is_nothing(self, index: VectorIndex) -> None:
        assert index.overlap("the of", ["the of kafka", "tea"]) == [0.0, 0.0]

    def test_overlap_of_no_texts_is_empty(self, index: VectorIndex) -> None:
        assert list(index.overlap("kafka", [])) == []

    # checkpoint, flush, reopening

    def test_a_new_namespace_has_no_checkpoint_and_nothing_to_say(self, index: VectorIndex) -> None:
        assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
        assert list(index.rebuilt()) == []

    def test_the_checkpoint_is_what_the_last_flush_recorded(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(1)])
        index.flush(NAMESPACE, Checkpoint(7, 5))
        assert index.checkpoint(NAMESPACE) == Checkpoint(7, 5)
        index.put(NAMESPACE, [point(2)])
        assert index.checkpoint(NAMESPACE) == Checkpoint(7, 5)
        index.flush(NAMESPACE, Checkpoint(9, 9))
        assert index.checkpoint(NAMESPACE) == Checkpoint(9, 9)

    def test_points_and_checkpoint_are_there_after_reopening(self, index: VectorIndex, reopen: Reopen) -> None:
        index.put(NAMESPACE, [point(n, f"unique{n} kafka", vector=unit(n) if n % 2 else None) for n in range(1, 100)])
        index.retire(NAMESPACE, memory(5), 2)
        index.remove(NAMESPACE, memory(6), 2)
        index.flush(NAMESPACE, Checkpoint(99, 50))
        before, points = index.search(NAMESPACE, IndexQuery("kafka unique7", unit(7), 20)), held(index)
        again = reopen()
        assert again.checkpoint(NAMESPACE) == Checkpoint(99, 50)
        assert held(again) == points
        after = again.search(NAMESPACE, IndexQuery("kafka unique7", unit(7), 20))
        assert keys(after.dense) == keys(before.dense)
        assert keys(after.lexical) == keys(before.lexical)
        assert list(again.rebuilt()) == []

    def test_what_was_written_after_the_flush_is_there_but_not_in_the_checkpoint(
        self, index: VectorIndex, reopen: Reopen
    ) -> None:
        index.put(NAMESPACE, [point(1, "kafka")])
        index.flush(NAMESPACE, Checkpoint(1, 1))
        index.put(NAMESPACE, [point(2, "kafka")])
        again = reopen()
        assert again.checkpoint(NAMESPACE) == Checkpoint(1, 1)
        assert lexical(again, "kafka") == [1, 2]

    def test_a_namespace_that_was_never_flushed_is_there_after_reopening(
        self, index: VectorIndex, reopen: Reopen
    ) -> None:
        index.put(NAMESPACE, [point(1, "kafka")])
        again = reopen()
        assert again.checkpoint(NAMESPACE) == Checkpoint(0, 0)
        assert lexical(again, "kafka") == [1]
        assert list(again.rebuilt()) == []

    def test_points_can_be_changed_after_reopening(self, index: VectorIndex, reopen: Reopen) -> None:
        index.put(NAMESPACE, [point(1, "kafka"), point(2, "kafka"), point(3, "kafka")])
        index.flush(NAMESPACE, Checkpoint(3, 3))
        again = reopen()
        again.put(NAMESPACE, [point(1, "postgres")])
        again.remove(NAMESPACE, memory(2), 2)
        again.retire(NAMESPACE, memory(3), 2)
        assert lexical(again, "kafka") == []
        assert lexical(again, "postgres") == [1]
        assert [(p.memory_id.int, p.current) for p in held(again)] == [(1, True), (3, False)]

    def test_a_namespace_without_points_keeps_its_checkpoint(self, index: VectorIndex, reopen: Reopen) -> None:
        index.flush(NAMESPACE, Checkpoint(4, 4))
        assert reopen().checkpoint(NAMESPACE) == Checkpoint(4, 4)

    @pytest.mark.parametrize("change", [{"store_id": "another store"}, {"model_id": "another:model"}])
    def test_an_index_of_another_store_or_model_starts_empty_and_says_so(
        self, index: VectorIndex, reopen: Reopen, change: dict[str, str]
    ) -> None:
        index.put(NAMESPACE, [point(1, "kafka")])
        index.put("other", [point(1, "kafka")])
        for namespace in (NAMESPACE, "other"):
            index.flush(namespace, Checkpoint(1, 1))
        again = reopen(**change)
        assert again.checkpoint(NAMESPACE) == Checkpoint(0, 0)
        assert lexical(again, "kafka") == []
        assert held(again) == []
        assert len(again.rebuilt()) == 1
        assert NAMESPACE in again.rebuilt()[0]
        again.put(NAMESPACE, [point(2, "kafka")])
        again.flush(NAMESPACE, Checkpoint(2, 2))
        assert lexical(again, "kafka") == [2]
        assert reopen(**change).checkpoint(NAMESPACE) == Checkpoint(2, 2)

    # is_open

    def test_an_index_is_open_once_it_was_used(self, index: VectorIndex, reopen: Reopen) -> None:
        assert not index.is_open(NAMESPACE)
        index.put(NAMESPACE, [point(1)])
        assert index.is_open(NAMESPACE)
        index.flush(NAMESPACE, Checkpoint(1, 1))
        again = reopen()
        assert not again.is_open(NAMESPACE)
        again.checkpoint(NAMESPACE)
        assert again.is_open(NAMESPACE)

    # reset

    def test_reset_empties_the_namespace_and_leaves_the_others(self, index: VectorIndex) -> None:
        for namespace in (NAMESPACE, "other"):
            index.put(namespace, [point(1, "kafka")])
            index.flush(namespace, Checkpoint(1, 1))
        index.reset(NAMESPACE)
        assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
        assert lexical(index, "kafka") == []
        assert held(index) == []
        assert index.checkpoint("other") == Checkpoint(1, 1)
        assert lexical(index, "kafka", namespace="other") == [1]
        assert list(index.rebuilt()) == []

    def test_a_namespace_can_be_used_again_after_reset(self, index: VectorIndex, reopen: Reopen) -> None:
        index.put(NAMESPACE, [point(1, "kafka")])
        index.reset(NAMESPACE)
        index.put(NAMESPACE, [point(2, "kafka")])
        index.flush(NAMESPACE, Checkpoint(3, 3))
        again = reopen()
        assert lexical(again, "kafka") == [2]
        assert again.checkpoint(NAMESPACE) == Checkpoint(3, 3)

    def test_resetting_what_was_never_used_is_no_error(self, index: VectorIndex) -> None:
        index.reset("never used")
        assert index.checkpoint("never used") == Checkpoint(0, 0)

    # points

    def test_points_gives_every_point_once_with_its_scope_and_whether_it_is_embedded(self, index: VectorIndex) -> None:
        numbers = range(1, 2_301)
        index.put(NAMESPACE, [point(n, current=n % 3 > 0, vector=unit(n) if n % 2 else None) for n in numbers])
        expected = [Indexed(memory(n), 1, 0, current=n % 3 > 0, embedded=n % 2 > 0) for n in numbers]
        assert held(index) == expected

    def test_a_namespace_without_an_index_has_no_points_and_gets_none(self, index: VectorIndex) -> None:
        assert held(index, "never used") == []
        assert not index.is_open("never used")

    def test_points_can_be_changed_while_they_are_walked(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n) for n in range(1, 1_501)])
        seen = set()
        for found in index.points(NAMESPACE):
            seen.add(found.memory_id.int)
            if found.memory_id.int % 100 == 0:
                index.remove(NAMESPACE, found.memory_id, 2)
        assert seen == set(range(1, 1_501))
        assert len(held(index)) == 1_485

    def test_a_walk_ends_when_the_namespace_is_reset(self, index: VectorIndex) -> None:
        index.put(NAMESPACE, [point(n) for n in range(1, 1_501)])
        walk = index.points(NAMESPACE)
        next(walk)
        index.reset(NAMESPACE)
        assert len(list(walk)) < 1_500

    # namespaces

    @pytest.mark.parametrize("name", STRANGE_NAMES, ids=range(len(STRANGE_NAMES)))
    def test_namespaces_are_strangers_whatever_they_are_called(
        self, index: VectorIndex, reopen: Reopen, name: str
    ) -> None:
        names = [name, name + "x", name.upper() + "y"]
        for number, namespace in enumerate(names, 1):
            index.put(namespace, [point(number, "kafka")])
            index.flush(namespace, Checkpoint(number, number))
        index.remove(names[1], memory(1), 9)
        index.retire(names[2], memory(1), 9)
        index = reopen()
        for number, namespace in enumerate(names, 1):
            assert lexical(index, "kafka", namespace=namespace) == [number]
            assert dense(index, unit("q"), namespace=namespace) == [number]
            assert index.checkpoint(namespace) == Checkpoint(number, number)
        assert list(index.rebuilt()) == []

    def test_more_namespaces_than_stay_open_lose_nothing(self, index: VectorIndex, reopen: Reopen) -> None:
        names = [f"space {n}" for n in range(18)]
        for sweep in (1, 2):
            for n, name in enumerate(names):
                index.put(name, [point(n + 100 * sweep, f"kafka unique{n}")])
        index.flush(names[3], Checkpoint(3, 3))
        assert sum(map(index.is_open, names)) <= 4
        for n, name in enumerate(names):
            assert lexical(index, f"unique{n}", namespace=name) == [n + 100, n + 200]
        assert index.checkpoint(names[3]) == Checkpoint(3, 3)
        again = reopen()
        assert [len(held(again, name)) for name in names] == [2] * 18
        assert list(again.rebuilt()) == []

    # threads

    def test_many_threads_can_search_and_write_at_once(self, index: VectorIndex) -> None:
        if not self.for_threads:
            pytest.skip("one call at a time: its calls are put behind one another by the test")
        names = [f"space {n}" for n in range(6)]
        failures: list[BaseException] = []

        def write(name: str) -> None:
            for step in range(10):
                index.put(name, [point(100 * step + n, f"kafka unique{n}", vector=None) for n in range(60)])
                index.put(name, [point(100 * step + n, f"kafka unique{n}") for n in range(60)])
                index.retire(name, memory(100 * step), 2)
                index.remove(name, memory(100 * step + 1), 2)
                index.flush(name, Checkpoint(step, step))

        def read(name: str) -> None:
            for step in range(30):
                found = index.search(name, IndexQuery("kafka unique7", unit(step), 50))
                scores = [match.score for match in found.dense]
                assert scores == sorted(scores, reverse=True)
                index.checkpoint(name)
                assert sum(1 for _ in index.points(name)) <= 600

        def guarded(work: Callable[[str], None], name: str) -> None:
            try:
                work(name)
            except BaseException as error:
                failures.append(error)

        threads = [
            threading.Thread(target=guarded, args=(work, name)) for name in names for work in (write, read, read)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        for name in names:
            assert len(held(index, name)) == 590
            assert len(lexical(index, "kafka", namespace=name, limit=1_000)) == 580
            assert len(dense(index, unit("q"), namespace=name, limit=1_000)) == 580
            assert index.checkpoint(name) == Checkpoint(9, 9)
