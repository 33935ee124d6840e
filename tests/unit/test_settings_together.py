"""Which services go together; anything else is refused at start with the reason."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import InvalidInput
from soma_core.servers import check_together
from soma_core.settings import load_settings
from soma_mcp.cli import soma

ADDRESSES = {
    "POSTGRES_URL": "postgresql://127.0.0.1:1/soma",
    "QDRANT_URL": "http://127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}
SETS = [
    frozenset(name for name, given in zip(ADDRESSES, chosen, strict=True) if given)
    for chosen in product((False, True), repeat=4)
]


def is_legal(names: frozenset[str]) -> bool:
    """Redis and Qdrant with anything, Postgres for one process, Kafka with Postgres and Qdrant."""
    return "KAFKA_BOOTSTRAP_SERVERS" not in names or {"POSTGRES_URL", "QDRANT_URL"} <= names


@pytest.mark.parametrize("names", SETS, ids=["+".join(sorted(names)) or "nothing" for names in SETS])
def test_what_goes_together_and_what_does_not(names: frozenset[str], tmp_path: Path) -> None:
    settings = load_settings({name: ADDRESSES[name] for name in names}, home=tmp_path)
    assert settings.distributed == ({"POSTGRES_URL", "QDRANT_URL"} <= names)
    if is_legal(names):
        check_together(settings)
        return
    with pytest.raises(InvalidInput, match="KAFKA_BOOTSTRAP_SERVERS: needs") as refused:
        create_memory_system(settings)
    assert set(refused.value.fields) == {"KAFKA_BOOTSTRAP_SERVERS", "POSTGRES_URL", "QDRANT_URL"} - (
        names - {"KAFKA_BOOTSTRAP_SERVERS"}
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [(), ("POSTGRES_URL",), ("QDRANT_URL",), ("REDIS_URL",)])
def test_several_processes_need_postgres_and_qdrant(names: tuple[str, ...], tmp_path: Path) -> None:
    given = {name: ADDRESSES[name] for name in names} | {"UVICORN_WORKERS": "2", "SOMA_HOME": str(tmp_path)}
    done = CliRunner().invoke(soma, ["serve", "--port", "0"], env=given)
    assert done.exit_code == 1
    assert "UVICORN_WORKERS: is 2; a data folder is served by one process" in done.output
    assert "POSTGRES_URL and QDRANT_URL" in done.output
