"""Who may import whom, and who may read the environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("embeddings", "soma_core", "soma_mcp", "workers")
READS_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file below the folders: its path from the root, and its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_bytes(), filename=str(path))


def environment_reads(tree: ast.Module) -> Iterator[int]:
    """The lines that name `os.environ`, `os.getenv` and the like, however `os` was imported."""
    aliases = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "os"
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                if name in aliases and attribute in READS_ENVIRONMENT:
                    yield node.lineno
            case ast.ImportFrom(module="os", names=names):
                if READS_ENVIRONMENT & {alias.name for alias in names}:
                    yield node.lineno


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and the full name of every module that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def test_every_import_points_inwards() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([str(command), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_command_on_memories_does_not_wait_for_the_protocol_library() -> None:
    """Its import takes twice as long as all the rest of a `soma store`."""
    modules = "soma_mcp.cli.memories, soma_mcp.cli.upkeep, soma_mcp.cli.token, soma_mcp.sharing, soma_mcp.client"
    code = f"import sys, {modules}; print(*sorted({{'mcp', 'mcp_types', 'fastapi', 'starlette'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_only_settings_read_the_environment() -> None:
    reads = {
        f"{path}:{line}"
        for path, tree in sources(*PACKAGES)
        if path != "soma_core/settings.py"
        for line in environment_reads(tree)
    }
    assert not reads, "take it as a setting of soma_core/settings.py instead"


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A']",
        "import os as o\no.getenv('A')",
        "from os import path, environ as e",
        "import os.path\nimport os\nf(env={**os.environ})",
    ],
)
def test_reading_the_environment_is_recognised(source: str) -> None:
    assert list(environment_reads(ast.parse(source)))


def test_the_domain_imports_the_standard_library_and_itself_only() -> None:
    foreign = {
        f"{path}:{line} {module}"
        for path, tree in sources("soma_core/domain")
        for line, module in imported(tree)
        if module.split(".")[0] not in sys.stdlib_module_names and not module.startswith("soma_core.domain")
    }
    assert not foreign
