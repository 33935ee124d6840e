"""The data folder: who owns it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from soma_core.domain.errors import FolderInUse, InvalidInput, Unavailable


class FolderLock:
    """The one ownership of a data folder, held until `release` or the death of the process.

    An advisory lock of the operating system on the file ``lock``: it cannot outlive its holder.
    Raises `FolderInUse` when another process (or another lock of this one) holds it.
    """

    def __init__(self, home: Path) -> None:
        _make(home)
        self._descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise FolderInUse(f"{home} is in use by another process", fields=("SOMA_HOME",)) from error

    def release(self) -> None:
        """Let another process own the folder. Does nothing the second time."""
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _make(home: Path) -> None:
    """Make the folder, for this user only."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(f"SOMA_HOME: {home} is not a folder", fields=("SOMA_HOME",)) from error
    except OSError as error:
        raise Unavailable(f"SOMA_HOME: {home} cannot be made: {error.strerror}", fields=("SOMA_HOME",)) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise Unavailable(f"SOMA_HOME: {home} cannot be written to by this user", fields=("SOMA_HOME",))
