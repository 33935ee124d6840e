"""Which of several processes does what only one may do at a time."""

from __future__ import annotations

from typing import Protocol


class Turn(Protocol):
    """Held by one process at a time, and given up at the latest with it. Safe to call from many threads."""

    def is_mine(self) -> bool:
        """Whether this process has it; takes it where no other does. Never waits for another. Raises nothing.

        True is at most a second old: what is done with it must be harmless when another has it meanwhile.
        """
        ...

    def holder(self) -> str | None:
        """Which process has it, for a message; None where none has. Raises `Unavailable`."""
        ...

    def let_go(self) -> None:
        """Let another process have it; this one takes it again when it asks and no other has it."""
        ...

    def give_up(self) -> None:
        """Let another process have it; this one takes it no more."""
        ...


class SoleTurn:
    """For a process that is alone by other means."""

    def is_mine(self) -> bool:
        """Always."""
        return True

    def holder(self) -> str | None:
        """Nobody else."""
        return None

    def let_go(self) -> None:
        """Nothing to do."""

    def give_up(self) -> None:
        """Nothing to do."""
