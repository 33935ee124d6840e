"""Storing what many callers bring in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from soma_core.adapters.gathering import Gathering, Job
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
"""The most callers that share a transaction, each with all of its submissions."""


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
    into_outbox(tx, Counter(entry.pair[0] for entry in ledger.entries))
    tx.insert("requests", "ns, id, digest, receipt, time", ledger.requests, list)


def into_outbox(tx: Transaction, events: Mapping[str, int]) -> None:
    """Put the last so many events of each namespace into the outbox, where it is used."""
    if events:
        tx.run(QUERIES["into_outbox"], {"ns": list(events), "n": list(events.values())})


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


class GatheredStores(Gathering[Sequence[Submission], list[Outcome]]):
    """Stores that come while a commit is at work share the next one."""

    def __init__(self, store: Callable[[Sequence[Submission]], list[Outcome]]) -> None:
        super().__init__(most=TOGETHER)
        self._store = store

    def carry_out(self, jobs: Sequence[Job[Sequence[Submission], list[Outcome]]]) -> None:
        try:
            outcomes = iter(self._store([each for job in jobs for each in job.work]))
            for job in jobs:
                job.result = [next(outcomes) for _ in job.work]
        except BaseException as error:
            if len(jobs) == 1 or isinstance(error, Retryable):
                for job in jobs:
                    job.error = error
            else:  # one of them is at fault: each for itself
                for job in jobs:
                    self.carry_out([job])
