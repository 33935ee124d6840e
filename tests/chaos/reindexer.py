"""A rebuild of the index that ends in a kill -9: `python -m tests.chaos.reindexer STAGE`."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.generations import Generations
from soma_core.domain.memory import NewMemory
from soma_core.domain.query import BrowseQuery
from soma_core.services import reindex
from soma_core.services.writing import IndexWriting
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma
from tests.chaos.worker import SCOPE, die, say

FRESH = "animal99 moved into the green valley during the rebuild"


def in_mid_build(memory: SharedSoma) -> None:
    """Change something when two batches of four are embedded, and die in the third."""
    for name in ("EMBED_BATCH", "BUSY_BATCH"):
        setattr(reindex, name, 4)
    real = IndexWriting.write_vectors
    batches = []

    def write_vectors(self: IndexWriting, *arguments: Any) -> Any:
        batches.append(0)
        if len(batches) == 3:
            (gone,) = (
                each.id for each in memory.browse(SCOPE, BrowseQuery(limit=100)).memories if "animal0 " in each.text
            )
            memory.forget(SCOPE, [str(gone)], purge=True)
            memory.store(SCOPE, NewMemory(FRESH))
            say(gone)
            die()
        return real(self, *arguments)

    IndexWriting.write_vectors = write_vectors  # type: ignore[method-assign]


def at_the_switch(*, before: bool) -> None:
    """Die right before the records name the new generation, or right after."""
    real = SqliteRecordStore.change_generations

    def change(self: SqliteRecordStore, found: Generations | None, wanted: Generations) -> bool:
        switches = found is not None and found.serving != wanted.serving
        if switches and before:
            die()
        done = real(self, found, wanted)
        if switches:
            die()
        return done

    SqliteRecordStore.change_generations = change  # type: ignore[method-assign]


def while_the_old_one_is_deleted() -> None:
    """Die when a part of it is gone."""
    real = shutil.rmtree

    def delete_a_part(path: Any) -> None:
        real(next(path.glob("shard/segments/*")))
        die()

    shutil.rmtree = delete_a_part  # type: ignore[assignment]


def main(stage: str) -> None:
    memory = SharedSoma(load_settings(), stay=False, accept_model=True)
    if stage == "in mid-build":
        in_mid_build(memory)
    elif stage == "while the old one is deleted":
        while_the_old_one_is_deleted()
    else:
        at_the_switch(before=stage == "before the switch")
    memory.reindex(SCOPE)


if __name__ == "__main__":
    main(sys.argv[1])
