"""An endpoint for embeddings: what it may get wrong, and what becomes of it."""

from __future__ import annotations

import json
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from embeddings import asking, remote
from embeddings.choice import is_chosen
from embeddings.endpoint import Endpoint
from embeddings.remote import PROBE, RemoteEmbedder, open_remote
from soma_core.domain.errors import InvalidInput, SomaError, Unavailable
from tests.support.embedder import DIMENSIONS, embed
from tests.support.embedding_server import MODEL, EmbeddingServer, Reply, answer, embedding_server

KEY = "sk-0123456789-secret"
AWAY = Reply(503)


def embed_all(texts: Sequence[str]) -> list[list[float]]:
    return [embed(text) for text in texts]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server(embed_all) as server:
        yield server


@pytest.fixture
def embedder(server: EmbeddingServer) -> Iterator[RemoteEmbedder]:
    with closing(RemoteEmbedder(Endpoint(server.url, MODEL, KEY, DIMENSIONS, batch=4))) as embedder:
        embedder.load()
        server.requests.clear()
        yield embedder


def near(one: Sequence[float], text: str) -> bool:
    return list(one) == pytest.approx(embed(text))


def first(*replies: Reply) -> Callable[[Sequence[str]], Reply | None]:
    """The replies one after the other, then right answers."""
    left = list(replies)
    return lambda texts: left.pop(0) if left else None


def refused(endpoint: Endpoint) -> SomaError:
    """The error of a start, which comes within ten seconds and does not show the key."""
    began = time.monotonic()
    with pytest.raises((InvalidInput, Unavailable)) as caught:
        open_remote(endpoint).close()
    assert time.monotonic() - began < 10
    assert KEY not in str(caught.value)
    assert caught.value.message.startswith(f"{caught.value.fields[0]}: ")
    assert endpoint.host in caught.value.message
    return caught.value


class TestStart:
    def test_a_right_one_is_ready_and_tells_the_length_of_its_vectors(self, server: EmbeddingServer) -> None:
        server.key = KEY
        with closing(open_remote(Endpoint(server.url, MODEL, KEY))) as embedder:
            assert (embedder.ready, embedder.dimensions) == (True, DIMENSIONS)
            assert embedder.model_id == f"{MODEL}:remote-{DIMENSIONS}"
        assert len(server.requests) == 1

    def test_an_address_where_nobody_listens_is_named_with_what_was_expected(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        error = refused(Endpoint(f"http://127.0.0.1:{port}/v1", MODEL, KEY))
        assert error.fields == ("SOMA_EMBEDDING_URL",)
        assert "cannot be reached" in error.message
        assert "https://api.openai.com/v1" in error.message

    def test_a_host_that_is_not_there_is_named(self) -> None:
        assert refused(Endpoint("http://no-such-host.invalid/v1", MODEL)).fields == ("SOMA_EMBEDDING_URL",)

    def test_one_that_never_answers_is_given_up_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "START_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            error = refused(Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", MODEL))
        assert "did not answer within 0.2 s" in error.message

    def test_an_answer_that_drips_is_given_up_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "START_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as dripping:
            thread = threading.Thread(target=_drip, args=(dripping,))
            thread.start()
            error = refused(Endpoint(f"http://127.0.0.1:{dripping.getsockname()[1]}/v1", MODEL))
            thread.join(10)
        assert "did not answer within 0.3 s" in error.message

    @pytest.mark.parametrize(("key", "said"), [(KEY, "refuses the key"), (None, "wants a key")])
    def test_a_wrong_key_is_named_and_never_shown(
        self, server: EmbeddingServer, key: str | None, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server.key = "another"
        error = refused(Endpoint(server.url, MODEL, key))
        assert isinstance(error, InvalidInput)
        assert (error.fields, said in error.message) == (("SOMA_EMBEDDING_API_KEY",), True)
        assert KEY not in caplog.text
        assert KEY not in repr(Endpoint(server.url, MODEL, key))

    def test_a_key_that_an_error_repeats_is_not_shown(self, server: EmbeddingServer) -> None:
        server.instead = lambda texts: Reply(404, json.dumps({"error": {"message": f"not for {KEY}"}}).encode())
        assert "not for ***" in refused(Endpoint(server.url, MODEL, KEY)).message

    def test_a_wrong_path_and_an_unknown_model_are_told(self, server: EmbeddingServer) -> None:
        assert "status 404: 'no such path'" in refused(Endpoint(f"{server.url}/v2", MODEL)).message
        assert "does not exist" in refused(Endpoint(server.url, "gpt")).message

    def test_a_page_of_the_web_is_no_endpoint(self, server: EmbeddingServer) -> None:
        server.instead = lambda texts: Reply(200, b"<html>Welcome</html>")
        assert "OpenAI API" in refused(Endpoint(server.url, MODEL)).message

    def test_shorter_vectors_are_asked_for_where_they_are_wanted(self, server: EmbeddingServer) -> None:
        server.shortest = 8
        with closing(open_remote(Endpoint(server.url, MODEL, dimensions=16))) as embedder:
            (vector,) = embedder.embed_passages(["alpha"])
        assert (len(vector), embedder.model_id) == (16, f"{MODEL}:remote-16")
        assert math.hypot(*vector) == pytest.approx(1)
        assert [asked.get("dimensions") for asked in server.requests] == [None, 16, 16]

    def test_the_models_own_length_is_not_asked_for(self, server: EmbeddingServer) -> None:
        open_remote(Endpoint(server.url, MODEL, dimensions=DIMENSIONS)).close()
        assert [asked.get("dimensions") for asked in server.requests] == [None]

    def test_a_length_that_cannot_be_had_is_refused(self, server: EmbeddingServer) -> None:
        error = refused(Endpoint(server.url, MODEL, dimensions=32))
        assert error.fields == ("SOMA_EMBEDDING_DIMENSIONS",)
        assert "vectors of 64 numbers" in error.message
        assert "refuses to give 32" in error.message
        server.instead = lambda texts: answer(embed_all(texts))
        assert "and 64 when asked for 32" in refused(Endpoint(server.url, MODEL, dimensions=32)).message

    def test_one_that_is_away_stops_no_start_where_the_length_is_set(self, server: EmbeddingServer) -> None:
        server.instead = lambda texts: AWAY
        with closing(open_remote(Endpoint(server.url, MODEL, dimensions=DIMENSIONS))) as embedder:
            assert not embedder.ready
        error = refused(Endpoint(server.url, MODEL))
        assert isinstance(error, Unavailable)


def _drip(listener: socket.socket) -> None:
    caller, _ = listener.accept()
    with caller:
        try:
            caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not threading.Event().wait(0.05):
                caller.sendall(b" ")
        except OSError:
            return


class TestFailures:
    @pytest.mark.parametrize("status", [408, 429, 502, 503, 504, 529])
    def test_what_passes_is_tried_again(self, server: EmbeddingServer, embedder: RemoteEmbedder, status: int) -> None:
        server.instead = first(Reply(status))
        assert near(embedder.embed_passages(["alpha"])[0], "alpha")
        assert embedder.ready

    def test_a_500_is_tried_again_though_some_mean_the_text_by_it(
        self, server: EmbeddingServer, embedder: RemoteEmbedder
    ) -> None:
        server.instead = first(Reply(500, b"oops"))
        assert near(embedder.embed_passages(["alpha"])[0], "alpha")

    def test_a_connection_that_breaks_is_tried_again(self, server: EmbeddingServer, embedder: RemoteEmbedder) -> None:
        server.instead = first(Reply(200, b"{", {"Content-Length": "50", "Connection": "close"}))
        assert near(embedder.embed_passages(["alpha"])[0], "alpha")

    def test_the_pause_that_it_asks_for_is_made(self, server: EmbeddingServer, embedder: RemoteEmbedder) -> None:
        server.instead = first(Reply(429, headers={"Retry-After": "0.3"}))
        began = time.monotonic()
        embedder.embed_passages(["alpha"])
        assert time.monotonic() - began >= 0.3

    def test_who_is_told_to_wait_long_asks_nothing_meanwhile(
        self, server: EmbeddingServer, embedder: RemoteEmbedder
    ) -> None:
        server.instead = lambda texts: Reply(429, headers={"Retry-After": "50"})
        for _ in range(3):
            with pytest.raises(Unavailable, match="takes no more for now") as caught:
                embedder.embed_passages(["alpha"])
            assert 40 < caught.value.retry_after <= 50
        assert len(server.requests) == 1
        assert not embedder.ready

    def test_one_that_is_away_is_found_again(
        self, server: EmbeddingServer, embedder: RemoteEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "PASSAGE_RETRIES", 0)
        monkeypatch.setattr(asking, "REST_SECONDS", 0.0)
        server.instead = lambda texts: AWAY
        for call in (lambda: embedder.embed_passages(["alpha"]), lambda: embedder.embed_query("alpha"), embedder.load):
            with pytest.raises(Unavailable, match="is not available"):
                call()
            assert not embedder.ready
        server.instead = first()
        embedder.load()
        assert embedder.ready

    def test_a_question_is_not_waited_for_long(
        self, server: EmbeddingServer, embedder: RemoteEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "QUERY_SECONDS", 0.2)
        done = threading.Event()
        server.instead = lambda texts: AWAY if done.wait(20) else None
        began = time.monotonic()
        with pytest.raises(Unavailable, match="did not answer within"):
            embedder.embed_query("alpha")
        assert time.monotonic() - began < 5
        done.set()

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{}",
            b'{"data": 3}',
            b'{"data": []}',
            b'{"data": [{"index": 0}]}',
            b'{"data": [{"index": 1, "embedding": [1.0]}]}',
            b'{"data": [{"index": 0, "embedding": "AAAA"}]}',
            b"[" * 100_000,
            answer([[1.0] * 63]).body,
            answer([[1.0] * 64, [1.0] * 64]).body,
        ],
        ids=lambda body: f"{len(body)} bytes {body[:30].decode()}",
    )
    def test_an_answer_that_is_none_is_no_vector(
        self, server: EmbeddingServer, embedder: RemoteEmbedder, body: bytes
    ) -> None:
        server.instead = lambda texts: Reply(200, body)
        with pytest.raises(Unavailable):
            embedder.embed_passages(["alpha"])
        assert not embedder.ready

    def test_a_revoked_key_is_an_outage_that_names_no_key(
        self, server: EmbeddingServer, embedder: RemoteEmbedder
    ) -> None:
        server.key = "another"
        with pytest.raises(Unavailable, match="refuses the key") as caught:
            embedder.embed_passages(["alpha"])
        assert KEY not in str(caught.value)

    def test_a_model_of_another_length_behind_the_same_address_is_refused(
        self, server: EmbeddingServer, embedder: RemoteEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asking, "REST_SECONDS", 0.0)
        server.embed = lambda texts: [[1.0] * 32 for _ in texts]
        for call in (lambda: embedder.embed_passages(["alpha"]), embedder.load):
            with pytest.raises(Unavailable, match="vectors of 32 numbers"):
                call()

    def test_leaving_ends_a_pause(self, server: EmbeddingServer, embedder: RemoteEmbedder) -> None:
        asked = threading.Event()

        def say_later(texts: Sequence[str]) -> Reply:
            asked.set()
            return Reply(503, headers={"Retry-After": "4"})

        def leave() -> None:
            asked.wait(10)
            embedder.close()

        server.instead = say_later
        threading.Thread(target=leave).start()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            embedder.embed_passages(["alpha"])
        assert time.monotonic() - began < 3


class TestTexts:
    def test_batches_are_no_larger_than_set_and_keep_their_order(
        self, server: EmbeddingServer, embedder: RemoteEmbedder
    ) -> None:
        texts = [f"text {at}" for at in range(10)]
        found = embedder.embed_passages(texts)
        assert all(near(vector, text) for vector, text in zip(found, texts, strict=True))
        assert sorted(len(asked["input"]) for asked in server.requests) == [2, 4, 4]

    def test_more_texts_than_it_takes_go_in_halves(self, server: EmbeddingServer, embedder: RemoteEmbedder) -> None:
        server.most = 1
        found = embedder.embed_passages(["alpha", "beta", "gamma"])
        assert all(near(vector, text) for vector, text in zip(found, ["alpha", "beta", "gamma"], strict=True))

    def test_a_text_that_is_too_long_is_cut_and_the_others_are_not(
        self, server: EmbeddingServer, embedder: RemoteEmbedder
    ) -> None:
        server.window = 1_200
        long = "word " * 1_000
        found = embedder.embed_passages(["alpha", long, long + "end"])
        assert near(found[0], "alpha")
        assert near(found[1], long[:1_000])
        assert found[1] == found[2]

    @pytest.mark.parametrize(
        "vector", [[math.nan] * 64, [None] * 64, [0.0] * 64, ["1"] * 64, [math.inf] + [0.0] * 63, [1e999] * 64]
    )
    def test_a_text_without_a_usable_vector_is_told_from_an_outage(
        self, server: EmbeddingServer, embedder: RemoteEmbedder, vector: list[object]
    ) -> None:
        server.instead = lambda texts: (
            answer([vector if "poison" in text else embed(text) for text in texts]) if "poison" in str(texts) else None
        )
        with pytest.raises(InvalidInput, match="refuses the text"):
            embedder.embed_passages(["alpha", "poison", "beta"])
        assert embedder.ready
        assert near(embedder.embed_passages(["alpha"])[0], "alpha")

    @pytest.mark.parametrize("status", [400, 413, 422, 500])
    def test_one_that_refuses_every_text_is_an_outage(
        self, server: EmbeddingServer, embedder: RemoteEmbedder, status: int
    ) -> None:
        server.instead = lambda texts: Reply(status, b'{"error": "broken"}')
        with pytest.raises(Unavailable, match="refuses every text: status"):
            embedder.embed_passages(["alpha", "beta"])
        assert [asked["input"] for asked in server.requests] == [["alpha", "beta"], [PROBE]]


@pytest.mark.parametrize(
    ("model_id", "endpoint", "chosen"),
    [
        ("m:remote-64", Endpoint("http://a/v1", "m"), True),
        ("m:remote-64", Endpoint("http://a/v1", "m", dimensions=64), True),
        ("m:remote-64", Endpoint("http://a/v1", "m", dimensions=32), False),
        ("m:remote-64", Endpoint("http://a/v1", "n"), False),
        ("m:int8", Endpoint("http://a/v1", "m"), False),
        ("m%3Alatest:remote-64", Endpoint("http://a/v1", "m:latest"), True),
    ],
)
def test_a_follower_tells_its_model_from_the_owners_without_asking(
    model_id: str, endpoint: Endpoint, chosen: bool
) -> None:
    assert is_chosen(model_id, endpoint) is chosen
