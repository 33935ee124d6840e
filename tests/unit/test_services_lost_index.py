"""An index that is lost while its process goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from tests.support.embedder import DIMENSIONS, HashEmbedder
from tests.support.engine import SCOPE, opened, soma_over


def test_an_index_lost_while_it_was_closed_for_others_is_answered_for_and_rebuilt(tmp_path: Path) -> None:
    records = SqliteRecordStore(tmp_path / "records.db", reserve_bytes=0)
    index = EdgeIndex(
        tmp_path / "index",
        store_id=records.store_id,
        model_id=HashEmbedder.model_id,
        dimensions=DIMENSIONS,
        max_open=1,
    )
    soma = soma_over(records, index)
    a, b = Scope("a"), Scope("b")
    soma.store(a, NewMemory.parse("zebra"))
    soma.index(a)
    (folder,) = (path for path in (tmp_path / "index").iterdir() if path.is_dir())
    soma.store(b, NewMemory.parse("other"))
    soma.index(b)
    assert not index.is_open("a")
    shutil.rmtree(folder)
    try:
        answer = soma.recall(a, RecallQuery("zebra"))
        assert [hit.memory.text for hit in answer.hits] == ["zebra"] or answer.degraded
        soma.index(a)
        assert [hit.memory.text for hit in soma.recall(a, RecallQuery("zebra")).hits] == ["zebra"]
        assert soma.inspect(a).is_clean
    finally:
        soma.close()


def test_records_that_were_put_back_to_an_earlier_state_have_their_index_rebuilt(tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with opened(tmp_path) as engine:
        kept = engine.store("alpha kept")
        engine.soma.index(SCOPE)
        engine.records.close()
        shutil.copy(engine.path, backup)
        engine.restart()
        for n in range(3):
            engine.store(f"beta {n}")
        engine.soma.index(SCOPE)
        engine.records.close()
        shutil.copy(backup, engine.path)
        engine.restart()
        engine.store("gamma after")
        assert engine.texts("gamma") == ["gamma after"]
        assert any("ahead of the records" in notice for notice in engine.soma.status(SCOPE).health)
        engine.soma.index(SCOPE)
        assert engine.texts("gamma")[0] == "gamma after"
        assert {point.memory_id for point in engine.points} >= {kept.id}
        assert len(engine.points) == 2
        assert engine.soma.status(SCOPE).health == []
        assert engine.soma.inspect(SCOPE).is_clean
