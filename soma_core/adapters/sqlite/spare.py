"""A little room on the disk that is set aside, so that a full one can still be read after a restart."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SPARE_BYTES = 64 << 10
"""SQLite must be able to write 32 KB (its `-shm` file) before it can read a file in WAL mode."""


def free_bytes(path: Path) -> int:
    """How many bytes an ordinary user may still write on the disk that holds `path`."""
    return shutil.disk_usage(path.parent).free


def set_aside(path: Path) -> None:
    """Keep room beside the record store, where there is any."""
    spare = _spare(path)
    whole = spare.exists() and spare.stat().st_size >= SPARE_BYTES  # a kill may have left less
    if whole or free_bytes(path) < SPARE_BYTES:
        return
    try:
        spare.write_bytes(os.urandom(SPARE_BYTES))
    except OSError:
        spare.unlink(missing_ok=True)


def give_back(path: Path) -> None:
    """On a full disk, let the record store have the room that was kept for it."""
    if free_bytes(path) < SPARE_BYTES:
        _spare(path).unlink(missing_ok=True)


def _spare(path: Path) -> Path:
    return path.with_name(path.name + ".spare")
