"""Data folders and the command line on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clients import Shell


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def shell(home: Path) -> Shell:
    return Shell(home)
