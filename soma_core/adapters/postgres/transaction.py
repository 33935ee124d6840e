"""A transaction in few round trips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import psycopg2
from psycopg2.extensions import cursor

T = TypeVar("T")

PORTION = 100
"""Rows that are made into text at once."""
NULL = "\0N"
_ESCAPES = (
    ("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0t", "\t"), ("\0n", "\n"), ("\0N", "\\N"),
)  # fmt: skip
COPY_ROWS = 100
"""From so many rows on, COPY is quicker than INSERT."""


class Transaction:
    """Statements of one transaction; those that return nothing are kept and sent with the next that does."""

    def __init__(self, cursor: cursor) -> None:
        self._cursor = cursor
        self._kept = [b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"]

    def run(self, sql: str, values: Mapping[str, Any]) -> None:
        """Run statements, at the latest with the commit."""
        self._kept.append(self._cursor.mogrify(sql, values))

    def fetch(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        self.run(sql, values)
        self.send()
        return self._cursor.fetchall()

    def insert(
        self, table: str, columns: str, items: Sequence[T], row: Callable[[T], list[Any]], conflict: str = ""
    ) -> None:
        """Insert a row for each item, in their order; `conflict` is what follows the rows, and rules out COPY."""
        if len(items) >= COPY_ROWS and not conflict:
            self.send()
            file: Any = _AsCopy(items, row)  # of a file the driver needs `read` alone
            try:
                self._cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", file)
            except psycopg2.Error as error:
                raise (file.error or error) from None
        elif items:
            mark = f"({','.join(['%s'] * len(columns.split(',')))})"
            values = b",".join(self._cursor.mogrify(mark, row(item)) for item in items)
            self._kept.append(f"INSERT INTO {table} ({columns}) VALUES ".encode() + values + conflict.encode())

    def commit(self) -> None:
        """Send the rest and make all of it durable."""
        self._kept.append(b"COMMIT")
        self.send()

    def send(self) -> None:
        """Run what was kept."""
        if self._kept:
            kept, self._kept = self._kept, []
            self._cursor.execute(b";\n".join(kept))


class _AsCopy(Generic[T]):
    """Rows in COPY's text format, made while the server takes those before."""

    def __init__(self, items: Sequence[T], row: Callable[[T], list[Any]]) -> None:
        self._items = items
        self._row = row
        self._start = 0
        self.error: Exception | None = None
        """What went wrong with a row; the driver reports no more than that something did."""

    def read(self, size: int = -1, /) -> bytes:
        """The next rows, however many bytes they are; nothing at the end."""
        items = self._items[self._start : self._start + PORTION]
        self._start += PORTION
        try:
            return as_copy([self._row(item) for item in items]).encode() if items else b""
        except Exception as error:
            self.error = error
            raise


def as_copy(rows: Sequence[Sequence[Any]]) -> str:
    """Rows escaped all at once; until then NUL, which no string may hold, marks what is ours."""
    lines = ["\0t".join([v if type(v) is str else NULL if v is None else repr(v) for v in row]) for row in rows]
    text = "\0n".join(lines) + "\0n"
    if text.count("\0") != sum(len(row) + row.count(None) for row in rows):
        raise ValueError("a string must not hold NUL")
    for character, escaped in _ESCAPES:
        text = text.replace(character, escaped)
    return text
