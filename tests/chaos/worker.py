"""Processes for the chaos tests to kill: `python -m tests.chaos.worker JOB ARGUMENTS`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.memory import NewMemory, Scope
from soma_core.services.writing import IndexWriting
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma

SCOPE = Scope("api_ns", "worker")
BATCH = 5


def say(*words: object) -> None:
    """One line in one write: whole or not at all."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write(round_: str) -> None:
    """Store, in batches too, revise and forget from several threads, and say each answer, until killed."""
    memory = SharedSoma(load_settings(), stay=True)

    def store(thread: int) -> None:
        for n in range(1_000_000):
            text = f"note word{round_}x{thread}x{n} of round {round_}"
            say("stored", memory.store(SCOPE, NewMemory(text)).id, text)

    def store_many(thread: int) -> None:
        for n in range(1_000_000):
            batch = f"batch{round_}x{thread}x{n}"
            news = [NewMemory(f"part {part} word{batch}p{part}", thread=batch) for part in range(BATCH)]
            for new, receipt in zip(news, memory.store_many(SCOPE, news), strict=True):
                say("stored", receipt.id, new.text)

    def revise(thread: int) -> None:
        for n in range(1_000_000):
            text = f"place word{round_}x{thread}x{n} revised"
            receipt = memory.store(SCOPE, NewMemory(text, coordinate="1,2,3"))
            say("revised", receipt.id, receipt.version, text)

    def forget(thread: int) -> None:
        for n in range(1_000_000):
            receipt = memory.store(SCOPE, NewMemory(f"secret word{round_}x{thread}x{n} of round {round_}"))
            memory.forget(SCOPE, [str(receipt.id)], None, bool(n % 2))
            say("forgotten", receipt.id, f"word{round_}x{thread}x{n}")

    jobs = [store, store, store_many, revise, forget]
    threads = [threading.Thread(target=job, args=(at,)) for at, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def own(method: str, request_id: str) -> None:
    """Own the folder, and die when the request has been committed, before it is answered."""
    real: Callable[..., Any] = getattr(SqliteRecordStore, method)

    def fatal(self: SqliteRecordStore, *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        requests = [submission.request for submission in args[0]] if method == "store" else args
        if request_id in [getattr(given, "id", None) for given in requests]:
            die()
        return result

    setattr(SqliteRecordStore, method, fatal)
    serve()


def serve(*_: str) -> None:
    """Own the folder until standard input ends."""
    memory = SharedSoma(load_settings(), stay=True)
    say("owns" if memory.owns else "follows")
    sys.stdin.read()
    memory.close()


def die_before_repair() -> None:
    """Forget a memory while it is embedded, and die when its late vector is in the index, before that is repaired."""
    memory = SharedSoma(load_settings(), stay=False)
    soma = memory._target.soma  # type: ignore[union-attr]
    gone = memory.store(SCOPE, NewMemory("the wombat is forgotten while it is embedded"))
    memory.store(SCOPE, NewMemory("the heron stays"))
    soma.indexing.words_step(SCOPE.namespace)
    soma.indexing.flush(SCOPE.namespace, idle=True)
    vector = [1.0] + [0.0] * (soma.embedder.dimensions - 1)

    def embed(texts: list[str]) -> list[list[float]]:
        memory.forget(SCOPE, [str(gone.id)])
        IndexWriting._repair = die  # type: ignore[method-assign]
        return [vector for _ in texts]

    soma.embedder.embed_passages = embed
    say(gone.id)
    memory.index(SCOPE)


if __name__ == "__main__":
    jobs: dict[str, Callable[..., None]] = {
        "write": write, "own": own, "serve": serve, "die-before-repair": die_before_repair
    }  # fmt: skip
    jobs[sys.argv[1]](*sys.argv[2:])
