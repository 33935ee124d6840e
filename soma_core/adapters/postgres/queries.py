"""The queries of ``queries.sql`` by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


def load(path: Path) -> Mapping[str, str]:
    """The queries of a file: each begins with ``-- name --`` and a line of what it does."""
    found: dict[str, str] = {}
    for name, text in re.findall(r"^-- (\w+) --\n(.*?)(?=^-- \w+ --\n|\Z)", path.read_text("utf-8"), re.M | re.S):
        description, _, statement = text.partition("\n")
        if name in found or not description.startswith("-- ") or not statement.strip():
            raise ValueError(f"{path}: the query {name} is there twice, or has no description, or no text")
        found[name] = statement.strip().removesuffix(";")
    return found


QUERIES = load(Path(__file__).parent / "queries.sql")
