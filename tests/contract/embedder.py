"""What every `Embedder` does, whatever model is behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from soma_core.ports.embedder import Embedder, Vector

TEXTS = [
    "Anna moved the deployment to Friday because the release notes were not ready.",
    "Use pnpm, never npm, in the web repository.",
    "The staging database ran out of disk on the second of March.",
    "ok",
    "Her daughter Lena starts school in Berlin after the summer; they still look for a flat near the park.",
    "def embed(texts): return [model(text) for text in texts]",
]
ODD = {
    "empty": "",
    "a space": " ",
    "nothing to be seen": "\t\n \u3000\u200b",
    "emoji": "🎉🎉🎉",
    "accents": "Ça m'a plu, naïve café — 50 €",
    "Thai": "เขาย้ายไปอยู่เชียงใหม่เมื่อปีที่แล้ว",
    "Chinese": "他昨天搬到了柏林",
    "Hebrew": "שלום עולם",
    "control characters": "a\x00b\x07c",
    "one endless word": "x" * 5_000,
    "combining marks": "e\u0301" * 300,
}


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two unit vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


class EmbedderContract:
    """Inherit it, and say how to `make` one."""

    tolerance = 1e-5
    """How far a number of a vector may be from the same text's, embedded at another time or beside other texts."""

    @staticmethod
    def make() -> Embedder:
        """A new embedder, not loaded."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> Embedder:
        return cls.make()

    def same(self, one: Sequence[Vector], other: Sequence[Vector]) -> bool:
        return len(one) == len(other) and all(
            a == pytest.approx(b, abs=self.tolerance) for a, b in zip(one, other, strict=True)
        )

    def test_it_says_what_it_is_before_the_model_is_loaded(self) -> None:
        fresh = self.make()
        assert fresh.model_id.count(":") == 1
        assert fresh.dimensions > 0
        assert not fresh.ready

    def test_it_is_ready_once_loaded_and_loading_again_changes_nothing(self) -> None:
        fresh = self.make()
        fresh.load()
        assert fresh.ready
        fresh.load()
        assert fresh.ready

    def test_the_first_call_loads_the_model(self, embedder: Embedder) -> None:
        fresh = self.make()
        assert self.same([fresh.embed_query(TEXTS[0])], [embedder.embed_query(TEXTS[0])])
        assert fresh.ready

    def test_many_threads_may_load_it_at_once(self, embedder: Embedder) -> None:
        fresh = self.make()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(fresh.embed_query, TEXTS[:1] * 8))
        assert self.same(found, [embedder.embed_query(TEXTS[0])] * 8)

    def test_vectors_are_plain_numbers_of_unit_length_and_the_promised_size(self, embedder: Embedder) -> None:
        for vector in [embedder.embed_query(TEXTS[0]), *embedder.embed_passages(TEXTS)]:
            assert len(vector) == embedder.dimensions
            assert all(type(number) is float for number in vector)
            assert math.sqrt(sum(number * number for number in vector)) == pytest.approx(1, abs=1e-5)

    def test_nothing_gives_nothing(self, embedder: Embedder) -> None:
        assert embedder.embed_passages([]) == []

    def test_the_same_text_gives_the_same_vector(self, embedder: Embedder) -> None:
        assert self.same(embedder.embed_passages(TEXTS), embedder.embed_passages(TEXTS))
        assert self.same([embedder.embed_query(TEXTS[0])], [embedder.embed_query(TEXTS[0])])

    def test_a_vector_does_not_depend_on_the_texts_beside_it(self, embedder: Embedder) -> None:
        texts = [*TEXTS, " ".join(TEXTS * 20)]
        alone = [embedder.embed_passages([text])[0] for text in texts]
        assert self.same(embedder.embed_passages(texts), alone)

    def test_the_order_is_kept_whatever_the_lengths(self, embedder: Embedder) -> None:
        texts = [" ".join(TEXTS[: 1 + at % 6]) + f" number {at}" for at in range(40)]
        there, back = embedder.embed_passages(texts), embedder.embed_passages(texts[::-1])
        assert self.same(there, back[::-1])

    def test_many_threads_get_what_one_gets(self, embedder: Embedder) -> None:
        queries = [embedder.embed_query(text) for text in TEXTS]
        passages = embedder.embed_passages(TEXTS)
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(embedder.embed_query, text) for text in TEXTS * 8]
            given = [pool.submit(embedder.embed_passages, TEXTS) for _ in range(6)]
            assert self.same([each.result() for each in asked], queries * 8)
            assert all(self.same(each.result(), passages) for each in given)

    def test_text_beyond_the_window_is_cut(self, embedder: Embedder) -> None:
        long = "the garden was full of old roses " * 2_000
        with_end, without = embedder.embed_passages([long + "quantum chromodynamics", long])
        assert self.same([with_end], [without])
        assert len(embedder.embed_query(long)) == embedder.dimensions

    @pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
    def test_any_text_has_a_vector(self, embedder: Embedder, text: str) -> None:
        for vector in (embedder.embed_query(text), embedder.embed_passages([text])[0]):
            assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-5)

    def test_a_question_is_nearer_to_its_answer_than_to_other_texts(self, embedder: Embedder) -> None:
        passages = embedder.embed_passages(TEXTS)
        for question, answer in [("When do we deploy?", 0), ("Which package manager do we use?", 1)]:
            scores = [cosine(embedder.embed_query(question), passage) for passage in passages]
            assert max(range(len(TEXTS)), key=scores.__getitem__) == answer
