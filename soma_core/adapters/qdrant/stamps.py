"""What is written beside a namespace's index: whose it is, how far it goes, and which files it must have."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from soma_core.ports.index import Checkpoint

FORMAT = 1
"""Of the stamp, the points and the engine's configuration together. An index of another format starts empty."""
STAMP = "checkpoint.json"
SHARD = "shard"
SEGMENTS = "segments"
COMES_AND_GOES = ("tracker_journal.dat", "flags_a.dat", "flags_b.dat")
"""Files that the engine takes away again; all others only grow."""


class Damaged(Exception):
    """An index cannot be used as it is. The message completes the sentence "the index ..."."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Whose index it is. Any difference makes it another one."""

    namespace: str
    store_id: str
    model_id: str
    language: str
    format: int = field(default=FORMAT)


def write_stamp(folder: Path, stamp: Stamp, checkpoint: Checkpoint, files: Mapping[str, int]) -> None:
    """Write the stamp so that it survives a power cut, whole or not at all.

    `files` are the sizes right after the engine's flush: what is written meanwhile may not survive.
    """
    entries = {**asdict(stamp), **asdict(checkpoint), "files": dict(files)}
    fresh = folder / f"{STAMP}.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(entries, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / STAMP)
    _sync_folder(folder)


def read_stamp(folder: Path, stamp: Stamp) -> Checkpoint:
    """The checkpoint of the index in `folder`. Raises `Damaged` unless it is `stamp`'s own and complete."""
    try:
        entries = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        checkpoint = Checkpoint(int(entries["words"]), int(entries["vectors"]))
        files: Mapping[str, int] = dict(entries["files"])
    except FileNotFoundError:
        raise Damaged("has no checkpoint") from None
    except (ValueError, KeyError, TypeError):
        raise Damaged("has an unreadable checkpoint") from None
    for name, wanted in asdict(stamp).items():
        if entries.get(name) != wanted:
            raise Damaged(f"has the {name.removesuffix('_id')} {entries.get(name)!r}, not {wanted!r}")
    _check_files(folder, files)
    return checkpoint


def _check_files(folder: Path, files: Mapping[str, int]) -> None:
    """The engine takes a missing or shortened file for an empty one and says nothing, so this looks first."""
    found = file_sizes(folder)
    for name, size in files.items():
        if found.get(name, -1) < size:
            raise Damaged(f"lacks all or part of its file {Path(name).name}")


def file_sizes(folder: Path) -> dict[str, int]:
    """The sizes of the segments' files in bytes, by their path inside `folder`."""
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in (folder / SHARD / SEGMENTS).rglob("*")
        if file.is_file() and file.name not in COMES_AND_GOES
    }


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # A folder cannot be opened there; NTFS journals the rename.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
