"""Check, without a network, that the pins in requirements/ are those of pyproject.toml.

Run as ``python -m scripts.check_requirements``; ``make check`` does.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)")
DECLARED_BY = "soma-fractal-memory (pyproject.toml"


def declared(project: Mapping[str, Any]) -> dict[str, list[Requirement]]:
    """What each file of requirements/ has to pin."""
    base, extras, groups = project["dependencies"], project["optional-dependencies"], project["groups"]
    files = {
        "base.txt": base,
        "build.txt": groups["build"],
        "dev.txt": base + extras["dev"] + groups["build"],
        "server.txt": base + extras["server"],
    }
    return {name: [Requirement(line) for line in lines] for name, lines in files.items()}


def blocks(text: str) -> Iterator[str]:
    """Each pin with its hashes and its notes, which stand on indented lines below it."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    yield from re.split(r"\n(?=\S)", "\n".join(lines))


def problems(text: str, wanted: list[Requirement]) -> Iterator[str]:
    """What is wrong with one file, a sentence each."""
    versions: dict[str, str] = {}
    direct: set[str] = set()
    for block in blocks(text):
        pin = PIN.match(block)
        if pin is None or "--hash=sha256:" not in block or "://" in block:
            yield f"is not a pin with a hash: {block.splitlines()[0]}"
            continue
        name = canonicalize_name(pin["name"])
        versions[name] = pin["version"]
        if DECLARED_BY in block:
            direct.add(name)
    for requirement in wanted:
        name = canonicalize_name(requirement.name)
        if name not in versions:
            yield f"does not pin {requirement}"
        elif not requirement.specifier.contains(versions[name], prereleases=True):
            yield f"pins {name}=={versions[name]}, and pyproject.toml wants {requirement}"
    for stale in sorted(direct - {canonicalize_name(requirement.name) for requirement in wanted}):
        yield f"pins {stale}, which pyproject.toml no longer names"


def main() -> int:
    """Print what does not fit; 1 if anything does not."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = {**pyproject["project"], "groups": pyproject["dependency-groups"]}
    found = [
        f"requirements/{name} {problem}"
        for name, wanted in declared(project).items()
        for problem in problems((ROOT / "requirements" / name).read_text(encoding="utf-8"), wanted)
    ]
    if pyproject["build-system"]["requires"] != pyproject["dependency-groups"]["build"]:
        found.append("pyproject.toml: build-system.requires and the group 'build' differ: make them the same")
    if found:
        print(*found, "Run `make requirements`.", sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
