"""The command `soma`, run as a person or a program runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from soma_mcp.cli import soma
from tests.e2e.clients import ROOT, SOMA, Shell, environment, mcp_client

DIARY = ROOT / "examples" / "diary.jsonl"
COMMANDS = [
    "store",
    "recall",
    "get",
    "browse",
    "forget",
    "store-bulk",
    "stats",
    "reindex",
    "verify",
    "migrate",
    "doctor",
    "demo",
    "eval",
    "mcp",
]


@pytest.fixture(scope="module")
def diary(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The command line on a folder that holds the diary; tests only read it."""
    shell = Shell(tmp_path_factory.mktemp("diary") / "home")
    assert shell.json("store-bulk", str(DIARY)) == {"stored": 62, "refused": []}
    return shell


@pytest.fixture
def copied(diary: Shell, home: Path) -> Shell:
    """The same on a copy that a test may spoil."""
    shutil.copytree(diary.home, home)
    return Shell(home)


def test_every_command_is_listed_and_has_help(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "home")
    listed = shell.text("--help")

    for name in COMMANDS:
        assert f"  {name} " in listed
    assert shell.text("mcp", "--help").startswith("Usage: ")
    assert not shell.home.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_tells_its_use(name: str) -> None:
    shown = CliRunner().invoke(soma, [name, "--help"])
    assert shown.exit_code == 0
    assert "--json" in shown.output
    assert "--home" in shown.output


def test_the_version_is_printed(shell: Shell) -> None:
    assert shell.text("--version").startswith("soma ")


def test_a_second_recall_with_the_cursor_leaves_out_what_the_first_showed(shell: Shell) -> None:
    for text in ("Owls sleep by day.", "owls sleep by day", "Owls hunt by night."):
        shell.text("store", text)

    first = shell.json("recall", "owls", "--limit", "1")
    (hit,) = first["hits"]
    second = shell.json("recall", "owls", "--since-cursor", first["cursor"])
    assert hit["id"] not in {found["id"] for found in second["hits"]}
    assert second["seen"] == 1 + len(hit.get("alike", []))
    assert "(1 alike: [" in shell.text("recall", "owls")
    assert "since_cursor" in shell.complaint("recall", "owls", "--since-cursor", "nonsense")


def test_age_counts_unless_it_is_told_not_to(shell: Shell) -> None:
    shell.text("store", "Owls sleep by day.")
    (aged,) = shell.json("recall", "owls")["hits"]
    (ageless,) = shell.json("recall", "owls", "--no-recency")["hits"]
    assert aged["parts"]["recency"] > 0 == ageless["parts"]["recency"]


def test_store_reads_standard_input(shell: Shell) -> None:
    receipt = shell.json("store", "-", stdin="Line one.\nLine two: ü.\n")

    (memory,) = shell.json("get", receipt["id"])["memories"]
    assert memory["text"].rstrip("\n") == "Line one.\nLine two: ü."


def test_a_stored_diary_is_recalled_by_meaning(diary: Shell) -> None:
    found = diary.json("recall", "Why were customers charged two times?", "--limit", "2")

    assert found["degraded"] == []
    assert any("Corvane gives up after ten" in hit["text"] for hit in found["hits"])


def test_reindex_rebuilds_the_index_from_the_records(copied: Shell) -> None:
    shutil.rmtree(copied.home / "index")

    model = copied.json("stats")["model"]["id"]
    assert copied.json("reindex") == {"events": 62, "generation": 2, "model": model, "kept": []}
    assert copied.json("recall", "Why were customers charged two times?", "--limit", "2")["hits"]
    assert copied.text("reindex") == "the index was rebuilt from 62 changes\n"


# A healthy folder, and others


def findings(shell: Shell, status: int) -> dict[str, dict[str, str]]:
    return {found["what"]: found for found in shell.json("doctor", status=status)["findings"]}


def test_the_doctor_finds_a_healthy_folder_good(diary: Shell) -> None:
    found = findings(diary, 0)

    assert {what: one["verdict"] for what, one in found.items()} == dict.fromkeys(
        ["folder", "disk", "model", "owner", "records", "index", "languages"], "good"
    )
    assert "good  records: 62 memories" in diary.text("doctor")


def test_the_doctor_finds_nothing_wrong_before_the_first_store(shell: Shell) -> None:
    assert findings(shell, 0)["folder"]["verdict"] == "note"
    assert not shell.home.exists()


def test_the_doctor_tells_how_to_close_an_open_folder(copied: Shell) -> None:
    copied.home.chmod(0o755)

    found = findings(copied, 1)["folder"]

    assert found["verdict"] == "bad"
    assert found["todo"] == f"chmod 700 {copied.home}"


def test_the_doctor_tells_how_to_restore_damaged_records_and_leaves_them_alone(copied: Shell) -> None:
    records = copied.home / "records.db"
    data = bytearray(records.read_bytes())
    data[:4096] = b"\x5a" * 4096
    records.write_bytes(data)

    done = copied.run("doctor", status=1)
    refused = copied.complaint("store", "x")

    assert "bad   records:" in done.stdout.decode()
    assert str(records) in done.stdout.decode() + refused
    assert refused.startswith("soma: store_corrupt: ")
    assert any(word in refused for word in ("restore", "backup", "recover"))
    assert records.read_bytes() == data


def test_the_doctor_names_the_variable_of_a_model_that_is_missing(diary: Shell, tmp_path: Path) -> None:
    done = diary.run("doctor", status=1, SOMA_EMBEDDING_MODEL=str(tmp_path / "nothing"))

    assert "bad   model:" in done.stdout.decode()
    assert "SOMA_EMBEDDING_MODEL" in done.stdout.decode()


def test_the_doctor_says_that_there_is_too_little_room(diary: Shell) -> None:
    found = json.loads(diary.run("doctor", "--json", status=1, SOMA_DISK_RESERVE="900000GB").stdout)["findings"]

    disk = next(one for one in found if one["what"] == "disk")
    assert disk["verdict"] == "bad"
    assert "make room" in disk["todo"]


def test_a_store_below_the_disk_reserve_is_refused_and_reading_goes_on(diary: Shell) -> None:
    short = Shell(diary.home, SOMA_DISK_RESERVE="900000GB")

    assert short.refusal("store", "No room.")["code"] == "unavailable"
    assert short.json("browse")["memories"]


# Beside a server


def test_commands_work_while_a_server_owns_the_folder(home: Path, shell: Shell) -> None:
    with mcp_client(home) as client:
        told = client.ok("store", text="The server was told of a heron.")
        client.until_embedded()
        assert shell.json("get", told["id"])["memories"][0]["text"] == "The server was told of a heron."
        mine = shell.json("store", "The shell was told of a stork.")
        assert client.texts("stork")[0] == "The shell was told of a stork."
        assert shell.json("store-bulk", "-", stdin='{"text":"A crane in bulk."}\n')["stored"] == 1
        assert len(shell.json("recall", "birds such as heron, stork and crane")["hits"]) == 3
        assert shell.json("stats")["counts"]["live"] == 3
        assert shell.json("reindex")["events"] >= 3
        found = findings(shell, 0)
        assert "owns the folder and answers" in found["owner"]["detail"]
        shell.json("forget", mine["id"], "--yes")
        assert client.refused("get", ids=[mine["id"]])["code"] == "not_found"
        assert client.log == ""


# Terminals


def on_a_terminal(shell: Shell, *args: str) -> str:
    """What a command shows on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*SOMA, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(shell.home, TERM="xterm"), cwd=ROOT
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how Linux tells that the other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_a_bulk_store_shows_a_progress_bar_on_a_terminal_only(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl"
    file.write_text("".join(f'{{"text":"Note {n}."}}\n' for n in range(5)))

    shown = on_a_terminal(shell, "store-bulk", str(file))
    piped = shell.run("store-bulk", str(file))

    assert "Storing" in shown
    assert "100%" in shown
    assert "5 memories stored" in shown
    assert piped.stderr == b""
    assert piped.stdout == b"5 memories stored, 0 lines refused\n"


# The demo


def test_the_demo_answers_its_questions_and_says_how_to_connect(home: Path) -> None:
    shown = Shell(home).text("demo")

    assert "62 memories stored over MCP" in shown
    assert len(re.findall(r"^Q  ", shown, re.M)) == 12
    assert "claude mcp add soma" in shown
    assert "mcpServers" in shown
    right = re.search(r"(\d+) of 12 (?:right )?answers", shown)
    assert right, shown[-1500:]
    assert int(right[1]) >= 9
    assert not home.exists()


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOMA_LANGUAGE", "klingon"),
        ("SOMA_DISK_RESERVE", "much"),
        ("SOMA_MEMORY_NAMESPACE", "n" * 1025),
        ("SOMA_MEMORY_NAMESPACE", "   "),
        ("SOMA_HOME", " "),
    ],
)
def test_a_bad_setting_is_refused_naming_the_variable(shell: Shell, name: str, value: str) -> None:
    error = Shell(shell.home, **{name: value}).refusal_here("stats")

    assert error["code"] == "invalid_input"
    assert error["message"].startswith(f"{name}: ")


def test_a_bad_setting_stops_the_server_before_it_says_anything(shell: Shell) -> None:
    assert "SOMA_LANGUAGE" in shell.complaint("mcp", SOMA_LANGUAGE="klingon")


def test_a_model_that_is_not_there_is_named_with_the_ways_to_get_one(shell: Shell, tmp_path: Path) -> None:
    line = shell.complaint("store", "x", SOMA_EMBEDDING_MODEL=str(tmp_path / "nothing"))

    assert line.startswith("soma: model_missing: ")
    for way in ("package", "folder", "hub"):
        assert way in line


def test_the_folders_own_settings_are_read_and_the_environment_goes_first(shell: Shell) -> None:
    shell.home.mkdir(mode=0o700)
    (shell.home / "soma.toml").write_text('SOMA_MEMORY_NAMESPACE = "from_file"\nSOMA_LANGUAGE = "german"\n')

    assert shell.json("stats")["namespace"] == "from_file"
    assert shell.json("stats", SOMA_MEMORY_NAMESPACE="from_environment")["namespace"] == "from_environment"
    assert shell.json("stats", "--namespace", "from_option")["namespace"] == "from_option"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SOMA_COLOUR = 'red'", "SOMA_COLOUR"),
        ("SOMA_HOME = '/elsewhere'", "SOMA_HOME"),
        ("SOMA_LANGUAGE = 'klingon'", "SOMA_LANGUAGE"),
        ("this is no toml", "soma.toml"),
    ],
)
def test_what_the_folders_settings_get_wrong_is_named(shell: Shell, text: str, named: str) -> None:
    shell.home.mkdir(mode=0o700)
    (shell.home / "soma.toml").write_text(text)

    error = shell.refusal_here("stats")

    assert error["code"] == "invalid_input"
    assert named in error["message"]


def one_line(shell: Shell, *args: Any) -> str:
    line = shell.complaint(*args)
    assert line.startswith("soma: ")
    assert "Traceback" not in line
    return line


def test_a_data_folder_that_is_a_file_is_refused_in_one_line(shell: Shell) -> None:
    shell.home.write_text("a file")

    assert str(shell.home) in one_line(shell, "store", "x")
    assert shell.home.read_text() == "a file"


def test_a_data_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")

    assert str(tmp_path / "file") in one_line(Shell(tmp_path / "file" / "below"), "store", "x")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no file system that even root cannot write")
def test_a_data_folder_that_cannot_be_written_is_refused_in_one_line() -> None:
    assert "/proc" in one_line(Shell(Path("/proc/soma")), "store", "x")


def test_the_data_folder_is_for_its_user_only(shell: Shell) -> None:
    shell.run("store", "Private.")

    for path in (shell.home, *shell.home.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_doctor_notes_a_language_that_the_model_does_not_know(shell: Shell) -> None:
    for number in range(3):
        shell.text("store", f"Gestern war ich mit meiner Schwester im Kino, Nummer {number}.")

    found = findings(shell, 0)["languages"]
    assert found["verdict"] == "note"
    assert "3 are german" in found["detail"]
    assert "SOMA_LANGUAGE=german" in shell.text("stats")
