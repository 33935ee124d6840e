"""Whether the languages of what was stored are known to those that search it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from soma_core.domain.languages import AUTO, STEMMED, detect
from soma_core.domain.query import BrowseQuery
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore

OPENING = "of the newest"
"""How every notice of languages begins."""
SAMPLE = 100
"""So many of the newest memories are looked at."""
LEAST = 3
SHARE = 0.2
"""From so many memories and such a share of those that tell their language on, a language is worth a word."""


class Languages:
    """Looks at the newest memories of a namespace, once for each state of it: 100 texts take some milliseconds."""

    def __init__(
        self, records: RecordStore, events: EventLog, *, model: str, knows: Sequence[str], stems: str | None
    ) -> None:
        """`knows`: the model's languages, none where nobody says; `stems`: the language of the search by words."""
        self._records = records
        self._events = events
        self._model = model
        self._knows = knows
        self._stems = stems
        self._seen: dict[str, tuple[int, Mapping[str, int]]] = {}

    def notices(self, namespace: str) -> list[str]:
        """What an operator should know about the languages of a namespace."""
        found = self._found(namespace)
        told = sum(found.values())
        notices: list[str] = []
        if unknown := _worth_a_word(
            {name: n for name, n in found.items() if self._knows and name not in self._knows}, told
        ):
            notices.append(
                f"{_listed(unknown, told)}, and the model {self._model} knows {', '.join(self._knows)} only: they are "
                "hardly found by their meaning; SOMA_EMBEDDING_MODEL takes a model that knows more languages"
            )
        stemmed = {name: n for name, n in found.items() if name in STEMMED and name != self._stems}
        if self._stems in STEMMED and (unknown := _worth_a_word(stemmed, told)):
            wanted = next(iter(unknown)) if len(found) == 1 else AUTO
            notices.append(
                f"{_listed(unknown, told)}, and the search by words uses the stems of SOMA_LANGUAGE={self._stems}: "
                f"they are found by whole words only; set SOMA_LANGUAGE={wanted}"
            )
        return notices

    def _found(self, namespace: str) -> Mapping[str, int]:
        """How many of the newest memories are in each language."""
        end = self._events.end(namespace)
        seen_at, found = self._seen.get(namespace, (-1, {}))
        if seen_at != end:
            newest = self._records.browse(namespace, BrowseQuery(limit=SAMPLE)).memories
            found = Counter(language for memory in newest if (language := detect(memory.text)))
            self._seen[namespace] = end, found
        return found


def _worth_a_word(counts: Mapping[str, int], told: int) -> Mapping[str, int]:
    """The counts, the greatest first; none where all of them together are few."""
    enough = sum(counts.values()) >= max(LEAST, SHARE * told)
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0]))) if enough else {}


def _listed(counts: Mapping[str, int], told: int) -> str:
    return f"{OPENING} {told} memories {', '.join(f'{n} are {name}' for name, n in counts.items())}"
