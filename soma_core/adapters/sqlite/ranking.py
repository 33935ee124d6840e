"""What ranking asks: the features of the candidates, and who of those a question names has spoken."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from soma_core.adapters.sqlite.rows import by_keys
from soma_core.domain.candidates import Features

_COLUMNS = ("hex(id)", *Features._fields)
_FEATURES = (
    f"SELECT json_array({', '.join(f'json_group_array({column})' for column in _COLUMNS)}) FROM memories "
    # The signs keep the planner from walking the namespace.
    "WHERE id IN (@ids) AND +state = 'live' AND +namespace = ?"
)


def features(db: sqlite3.Connection, namespace: str, ids: Collection[int]) -> dict[int, Features]:
    """The features of those that are live, in one row: at each row sqlite3 gives up the interpreter lock."""
    found: dict[int, Features] = {}
    for (columns,) in by_keys(db, _FEATURES, [key.to_bytes(16) for key in ids], namespace):
        keys, *seen = json.loads(columns)
        found.update(
            (int(key, 16), Features._make(each)) for key, each in zip(keys, zip(*seen, strict=True), strict=True)
        )
    return found


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
