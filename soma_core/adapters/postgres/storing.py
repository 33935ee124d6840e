"""Storing what many callers bring in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from soma_core.adapters.postgres.ledger import Ledger, Outcome, Pair, Standing
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.postgres.rows import lock_key, memory, ns_of
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.domain.errors import Retryable
from soma_core.domain.memory import new_id
from soma_core.ports.records import Submission

HEAD = (
    "ns, id, version, state, created_at, changed_at, type, thread, position, speaker, occurred_at, words, question, "
    "importance, standing, place"
)
VERSION = (
    "ns, id, version, kind, recorded_at, text, type, tags, thread, position, speaker, occurred_at, coordinate, "
    "importance, payload"
)
REVISE = " ON CONFLICT (ns, id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in HEAD.split(", ")[2:]
)
TOGETHER = 500
"""The most submissions that share a transaction with those of other callers."""


def enter(tx: Transaction, namespaces: Iterable[str]) -> None:
    """Wait for the turn to write in these namespaces; it is held until the transaction has ended."""
    names = {ns_of(name): name for name in namespaces}
    tx.run(QUERIES["lock"], {"keys": sorted({lock_key(ns) for ns in names})})
    tx.run(QUERIES["name_namespaces"], {"ns": list(names), "names": list(names.values())})


def store_all(tx: Transaction, submissions: Sequence[Submission], now: datetime) -> list[Outcome]:
    """Store the submissions in the order given; each stands or falls alone."""
    enter(tx, (submission.namespace for submission in submissions))
    ledger = Ledger(now, _known(tx, submissions), _standings(tx, submissions), _positions(tx, submissions))
    outcomes = [ledger.take(submission) for submission in submissions]
    _write(tx, ledger)
    return outcomes


def _write(tx: Transaction, ledger: Ledger) -> None:
    revised = [entry for pair, entry in ledger.heads.items() if pair in ledger.before]
    if revised:
        tx.run(QUERIES["delete_tags"], _pairs([entry.pair for entry in revised], "ids"))
        tx.insert("memories", HEAD, revised, ledger.head_row, REVISE)
    made = [entry for pair, entry in ledger.heads.items() if pair not in ledger.before]
    tags = [(*entry.pair, tag) for entry in ledger.heads.values() for tag in entry.new.tags]
    tx.insert("memories", HEAD, made, ledger.head_row)
    tx.insert("versions", VERSION, ledger.entries, ledger.version_row)
    tx.insert("memory_tags", "ns, id, tag", tags, list)
    tx.insert("events", "ns, id, version, kind, time", ledger.entries, ledger.event_row)
    tx.insert("requests", "ns, id, digest, receipt, time", ledger.requests, list)


def _known(tx: Transaction, submissions: Sequence[Submission]) -> dict[Pair, tuple[str, str]]:
    pairs = [(ns_of(submission.namespace), submission.request.id) for submission in submissions]
    rows = tx.fetch(QUERIES["known_requests"], _pairs(pairs, "ids"))
    return {(ns, key): (digest, receipt) for ns, key, digest, receipt in rows}


def _standings(tx: Transaction, submissions: Sequence[Submission]) -> dict[Pair, Standing]:
    """Where the memories stand at whose coordinates is stored."""
    names = {
        (ns_of(submission.namespace), str(new_id(submission.namespace, new.coordinate))): submission.namespace
        for submission in submissions
        for new in submission.memories
        if new.coordinate is not None
    }
    if not names:
        return {}
    found: dict[Pair, Standing] = {}
    for ns, version, state, thread, position, *said, key in tx.fetch(QUERIES["standings"], _pairs(list(names), "ids")):
        says = memory(names[ns, key], said) if state == "live" else None
        found[ns, key] = Standing(version, said[0], thread, position, says)
    return found


def _positions(tx: Transaction, submissions: Sequence[Submission]) -> dict[Pair, int]:
    """The last place of each thread that is stored to; those of new threads are left out."""
    threads = {
        (ns_of(submission.namespace), new.thread)
        for submission in submissions
        for new in submission.memories
        if new.thread is not None
    }
    if not threads:
        return {}
    rows = tx.fetch(QUERIES["last_positions"], _pairs(list(threads), "threads"))
    return {(ns, thread): last for ns, thread, last in rows if last is not None}


def _pairs(pairs: Sequence[Pair], second: str) -> dict[str, Any]:
    return {"ns": [pair[0] for pair in pairs], second: [pair[1] for pair in pairs]}


class _Job:
    """A caller's submissions and what came of them."""

    __slots__ = ("done", "error", "outcomes", "submissions", "turn")

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self.done = False
        self.turn = threading.Lock()
        self.turn.acquire()


class GatheredStores:
    """Stores that come while a commit is at work share the next one.

    One caller leads: it stores what waits, wakes the callers, and the first who came meanwhile to lead next.
    """

    def __init__(self, store: Callable[[Sequence[Submission]], list[Outcome]]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._queue: list[_Job] = []
        self._led = False

    def store(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Store these, with whatever else waits."""
        job = _Job(submissions)
        with self._lock:
            self._queue.append(job)
            leads, self._led = not self._led, True
        if not leads:
            job.turn.acquire()
        if not job.done:
            self._lead(job)
        if job.error is not None:
            raise job.error
        return job.outcomes

    def _lead(self, own: _Job) -> None:
        with self._lock:
            jobs, self._queue = self._queue[:TOGETHER], self._queue[TOGETHER:]
        try:
            self._carry_out(jobs)
        finally:
            with self._lock:
                following = self._queue[:1]
                self._led = bool(following)
            for job in (*jobs, *following):
                if job is not own:
                    job.turn.release()

    def _carry_out(self, jobs: Sequence[_Job]) -> None:
        try:
            outcomes = iter(self._store([each for job in jobs for each in job.submissions]))
            for job in jobs:
                job.outcomes = [next(outcomes) for _ in job.submissions]
        except BaseException as error:
            if len(jobs) > 1 and not isinstance(error, Retryable):  # one of them is at fault: each for itself
                for job in jobs:
                    self._carry_out([job])
            else:
                for job in jobs:
                    job.error = error
        finally:
            for job in jobs:
                job.done = True
