"""The generations of the index, each in a place of its own, and the models that they are made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from soma_core.domain.generations import Generation
from soma_core.ports.embedder import Embedder
from soma_core.ports.index import VectorIndex
from soma_core.ports.sparse import SparseModel


class IndexBuilds(Protocol):
    """Where the indexes of a store are. Generations neither see nor harm each other."""

    @property
    def shared(self) -> bool:
        """Whether other processes may use a generation that this one has left."""
        ...

    def open(self, generation: Generation) -> VectorIndex:
        """The index of a generation, empty where there is none; open once at a time.

        What is there and was made in another way starts empty, and the index says so. Raises `Unavailable`,
        `InvalidInput`, `ModelMismatch`.
        """
        ...

    def delete(self, number: int) -> None:
        """Delete a generation that is not open here. One that is not there is no error. Raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """The models of a generation."""

    embedder: Embedder
    sparse: SparseModel | None = None
    languages: Sequence[str] = ()
    """Those that the embedder's model was made for."""
    megabytes: int = 0
    """Roughly what the embedder takes in memory once it is loaded."""


@dataclass(frozen=True, slots=True)
class Built:
    """A generation that is open, and its models."""

    generation: Generation
    index: VectorIndex
    trained: Trained


class Models(Protocol):
    """The models that this process can load."""

    def plan(self, model: str | None, language: str | None) -> Generation:
        """What a build with this model and language is like, its number left open; `model` as a setting names it.

        None: those of this process's settings. Raises `ModelMissing`.
        """
        ...

    def trained(self, generation: Generation) -> Trained | None:
        """The models of a generation, not loaded yet; None where this process was never told of them."""
        ...
