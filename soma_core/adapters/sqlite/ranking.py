"""What ranking asks: the features of the candidates, and who of those a question names has spoken."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from soma_core.adapters.sqlite.rows import by_keys
from soma_core.domain.candidates import Features


def features(db: sqlite3.Connection, namespace: str, ids: Collection[int]) -> dict[int, Features]:
    """The features of those that are live, in one row: at each row sqlite3 gives up the interpreter lock."""
    # The signs keep the planner from walking the namespace.
    statement = (
        "SELECT json_group_array(json_array(hex(id), version, type, thread, position, speaker, words, question, "
        "standing, occurred_at, importance)) FROM memories "
        "WHERE id IN (@ids) AND +state = 'live' AND +namespace = ?"
    )
    rows = list(by_keys(db, statement, [key.to_bytes(16) for key in ids], namespace))
    return {int(key, 16): Features(*seen) for (found,) in rows for key, *seen in json.loads(found)}


def speakers(db: sqlite3.Connection, namespace: str, names: Sequence[str]) -> list[str]:
    """The speakers with these whole or first names, found by steps over the index however much each has said."""
    statement = (
        "SELECT min(speaker) FROM memories "
        "WHERE namespace = ? AND state = 'live' AND speaker IS NOT NULL AND speaker {} ? AND speaker < ?"
    )
    found: list[str] = []
    for name in names:
        after = name + "!"
        speaker = db.execute(statement.format(">="), (namespace, name, after)).fetchone()[0]
        while speaker is not None:
            if speaker == name or speaker.split()[0] == name:
                found.append(speaker)
            speaker = db.execute(statement.format(">"), (namespace, speaker, after)).fetchone()[0]
    return found
