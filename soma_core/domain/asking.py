"""What a question asks for: whom it names, and whether an assistant's words are wanted. English, as far as words go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ASSISTANTS = frozenset({"assistant", "ai", "model", "bot"})
"""Speakers, in small letters, whose words are an assistant's."""
_ROLES = ASSISTANTS | {"user", "human", "system", "me", "you"}
"""Speakers that are no names."""
MOST_NAMES = 16
_WORD = re.compile(r"[^\W\d_][\w-]*")
_NO_NAMES = {
    "a", "about", "after", "all", "am", "an", "and", "any", "are", "as", "at", "be", "before", "but", "by", "can",
    "could", "did", "do", "does", "during", "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if",
    "in", "into", "is", "it", "its", "may", "me", "might", "mine", "must", "my", "no", "not", "of", "on", "or", "our",
    "ours", "she", "should", "since", "so", "some", "tell", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "those", "to", "until", "us", "was", "we", "were", "what", "when", "where", "which",
    "while", "who", "whom", "whose", "why", "will", "with", "would", "you", "your",
}  # fmt: skip
_NEVER_NAMES = _NO_NAMES | _ROLES
_MONTHS = {"april", "may", "june", "august"}
_WHEN = re.compile(
    r"(?:\b(?:in|last|next|since|until|till|by|of|this|early|late|mid|before|after|during)|\d)\W+$", re.I
)
_BEGINNING = re.compile(r"(?:^|[.?!:]\s+)\W*$")
_WANTS_ASSISTANT = re.compile(
    r"\b(?:summar\w+|overview|recap)\b"
    r"|\bremind me\b"
    r"|\bthe assistant\b"
    r"|\byou(?:['\u2019]ve| have| had)? (?:\w+ )?"
    r"(?:said|told|recommended|suggested|mentioned|gave|given|provided|listed|explained|advised|proposed|described|wrote)\b"
    r"|\bdid you (?:say|tell|recommend|suggest|mention|give|provide|list|explain|advise|propose|describe|write)\b"
    r"|\bwe (?:\w+ )?(?:talked|discussed|spoke|covered|chatted|went over)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what ranking knows of it."""

    text: str
    now: int
    """When it is asked, in microseconds since 1970 UTC."""
    named: frozenset[str] = frozenset()
    """The speakers it names."""
    periods: tuple[tuple[int, int], ...] = ()
    """The times it names, each from one moment to just before another, in microseconds since 1970 UTC."""


def possible_names(question: str) -> list[str]:
    """The words that may be the first name of a speaker; in a question all in small letters, any word may be."""
    small = question.islower()
    words = [word for word in _WORD.findall(question) if word.casefold() not in _NEVER_NAMES]
    return list(dict.fromkeys(word.capitalize() if small else word for word in words if small or word[0].isupper()))[
        :MOST_NAMES
    ]


def named_speakers(question: str, speakers: Iterable[str]) -> frozenset[str]:
    """Which of `speakers` a question names, by the whole name or its first word."""
    return frozenset(each for each in speakers if any(_mentions(question, each)))


def in_first_person(question: str, named: Iterable[str]) -> str:
    """The question as those whom it names would put it of themselves: "When did I move to Oslo?"."""
    for speaker in sorted(named, key=lambda name: (-len(name), name)):
        parts, end = [], 0
        for match in _mentions(question, speaker):
            parts += [question[end : match.start()], "my" if match["owner"] else "I"]
            end = match.end()
        question = "".join([*parts, question[end:]])
    return question


def wants_assistant(question: str) -> bool:
    """Whether a question asks for what an assistant said, or for a summary, in which its words belong."""
    return _WANTS_ASSISTANT.search(question) is not None


def _mentions(question: str, speaker: str) -> Iterator[re.Match[str]]:
    """Where a question names a speaker. A month after "in" is no name, nor is a common word in small letters."""
    names = dict.fromkeys((speaker.strip(), *speaker.split()[:1]))
    if speaker.casefold() in _ROLES or not any(names):
        return
    either = "|".join(re.escape(name) for name in names)
    case = re.IGNORECASE if question.islower() else re.NOFLAG
    for match in re.finditer(rf"(?<![\w@])(?:{either})(?P<owner>['\u2019]s)?(?![\w@])", question, case):
        word = match.group().casefold()
        before = question[: match.start()]
        common = word in _NO_NAMES and (question.islower() or _BEGINNING.search(before))
        dated = word in _MONTHS and _WHEN.search(before)
        if not common and not dated:
            yield match
