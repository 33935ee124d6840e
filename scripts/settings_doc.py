"""Write docs/settings.md from the settings themselves; with ``--check`` only say whether it is up to date.

Run as ``python -m scripts.settings_doc``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from soma_core.settings import VARIABLES

PATH = Path(__file__).parent.parent / "docs" / "settings.md"

HEAD = """\
# Settings

Precedence: an argument, then the environment, then `soma.toml` in the data folder, then the default. The file holds
the same names, such as `SOMA_LANGUAGE = "german"`; only `SOMA_HOME` cannot stand in it. A value that is wrong stops the
start and names the variable.

This page is made from the tables in `soma_core/variables` by `python -m scripts.settings_doc`.

| variable | default | what it does |
|---|---|---|
"""


def settings_doc() -> str:
    """The page."""
    rows = [
        f"| `{name}` | {f'`{setting.default}`' if setting.default is not None else ''} | {setting.doc} |\n"
        for name, setting in VARIABLES.items()
    ]
    return HEAD + "".join(rows)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with ``--check`` compare it; the exit status."""
    page = settings_doc()
    if "--check" not in arguments:
        PATH.write_text(page, encoding="utf-8")
        return 0
    if PATH.exists() and PATH.read_text(encoding="utf-8") == page:
        return 0
    print("docs/settings.md is not up to date: run `python -m scripts.settings_doc`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
