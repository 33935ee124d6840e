"""Texts in scripts that put no space between words: Chinese, Japanese, Thai, and Korean, whose particles hang on."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

_RUN = re.compile(
    "["
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e80-\u0edf"  # Lao
    "\u1000-\u109f\u1780-\u17d3"  # Burmese, Khmer
    "\u1100-\u11ff\uac00-\ud7af"  # Korean
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"  # Chinese characters
    "]+"
)


def grams(text: str) -> tuple[str, list[str]]:
    """A text without its unspaced runs, and each character and each two neighbours of these.

    Every word of a run is thus found by its pairs, wherever a dictionary would have cut.
    """
    if text.isascii() or not _RUN.search(text):
        return text, []
    found: list[str] = []
    for run in _RUN.findall(text):
        run = unicodedata.normalize("NFKC", run)
        found += [*run, *map("".join, pairwise(run))]
    return _RUN.sub(" ", text), found
