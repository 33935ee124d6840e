"""The builds of the index: the one that serves, the one that is being made, and those that are to be deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Generation:
    """One build of the index, with one model. What is None was not recorded by the version of Soma that made it."""

    number: int
    """Counted from 1; none is ever used again."""
    model_id: str
    dimensions: int | None = None
    language: str | None = None
    """Of the words, as `SOMA_LANGUAGE` has it."""
    sparse_model_id: str | None = None

    def is_like(self, other: Generation) -> bool:
        """Whether both are builds of the same kind."""
        return replace(self, number=0) == replace(other, number=0)


@dataclass(frozen=True, slots=True)
class Generations:
    """Where the builds of a store's index stand; changed as a whole."""

    serving: Generation
    building: Generation | None = None
    """Half done: the next rebuild goes on with it."""
    retired: tuple[int, ...] = ()
    """Builds that serve no more and may still be there."""
    last: int = 1
    """The newest build's number; none is used again, so that nobody who is late writes into another's."""

    def planning(self, wanted: Generation) -> Generations:
        """A new build is begun beside the one that serves; one that was half done is given up."""
        last = self.last + 1
        return replace(self.given_up(), building=replace(wanted, number=last), last=last)

    def switched(self) -> Generations:
        """What was being built serves. Raises `ValueError` where nothing was."""
        if self.building is None:
            raise ValueError("nothing is being built")
        return replace(self, serving=self.building, building=None, retired=(*self.retired, self.serving.number))

    def given_up(self) -> Generations:
        """What was half done is to be deleted."""
        given_up = (self.building.number,) if self.building else ()
        return replace(self, building=None, retired=(*self.retired, *given_up))

    def without(self, number: int) -> Generations:
        """A retired build is gone."""
        return replace(self, retired=tuple(each for each in self.retired if each != number))

    def text(self) -> str:
        """As JSON; the same state has the same text."""
        entries: dict[str, Any] = {"serving": _entries(self.serving), "retired": self.retired, "last": self.last}
        if self.building:
            entries["building"] = _entries(self.building)
        return json.dumps(entries, sort_keys=True)

    @classmethod
    def parse(cls, text: str | None, model_id: str | None) -> Generations | None:
        """From `text`; a store that only named its model has one generation, and one that named none has none."""
        if text is None:
            return cls(Generation(1, model_id)) if model_id else None
        found: dict[str, Any] = json.loads(text)
        building = found.get("building")
        return cls(
            Generation(**found["serving"]),
            Generation(**building) if building else None,
            tuple(found["retired"]),
            found["last"],
        )


def _entries(generation: Generation) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(generation).items() if value is not None}
