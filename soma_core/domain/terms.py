"""Terms that a text holds as they are written, beside what it means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from soma_core.domain.validation import check_bool, check_number, check_string, invalid

MAX_TERMS = 64
MAX_TERM = 256
MAX_BOOST = 100.0
KEYWORD_LETTERS = 4
"""A query's words of at least so many letters are its keywords."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What to look for in a text. Build it with `parse`."""

    values: tuple[str, ...]
    exact: bool = True
    """Whole words only; otherwise a part of a word counts too."""
    case_sensitive: bool = False
    boost: float = 0.0
    """Added to the score of a memory that holds all of them; a share of it for a share of them."""

    @classmethod
    def parse(
        cls, values: object, *, exact: object = True, case_sensitive: object = False, boost: object = 0.0
    ) -> Terms:
        if not isinstance(values, list | tuple) or not 1 <= len(values) <= MAX_TERMS:
            raise invalid("terms", f"must be a list of 1 to {MAX_TERMS} strings")
        return cls(
            tuple(check_string(f"terms[{i}]", value, max_chars=MAX_TERM) for i, value in enumerate(values)),
            check_bool("exact", exact),
            check_bool("case_sensitive", case_sensitive),
            check_number("boost", boost, 0, MAX_BOOST),
        )

    def share(self, text: str) -> float:
        """How many of the terms `text` holds, 0 to 1."""
        return sum(self._holds(text, term) for term in self.values) / len(self.values)

    def _holds(self, text: str, term: str) -> bool:
        if not self.case_sensitive:
            text, term = text.casefold(), term.casefold()
        if not self.exact:
            return term in text
        return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text) is not None


def keywords(query: str) -> list[str]:
    """The words of a query that are long enough to mean something on their own, as they are written."""
    words: dict[str, str] = {}
    for word in re.findall(rf"\b\w{{{KEYWORD_LETTERS},{MAX_TERM}}}\b", query):
        words.setdefault(word.casefold(), word)
    return list(words.values())[:MAX_TERMS]
