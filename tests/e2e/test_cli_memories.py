"""Storing, finding and forgetting by the command `soma`, in both deployments."""

from __future__ import annotations

from tests.e2e.clients import Shell
from tests.support.deployments import twice

pytestmark = twice()


def test_store_get_browse_recall_and_forget_tell_people_what_they_did(shell: Shell) -> None:
    created = shell.text("store", "Owls sleep by day.", "--tag", "birds", "--thread", "zoo", "--speaker", "Ida")
    assert created.startswith("created ")
    memory_id = created.split()[1]

    assert "Ida: Owls sleep by day." in shell.text("get", memory_id)
    assert "#birds" in shell.text("browse", "--thread", "zoo")
    assert "Owls sleep by day." in shell.text("recall", "when do owls rest")
    assert "1 memories in api_ns" in shell.text("stats")
    assert shell.text("forget", memory_id, "--yes").startswith("1 memories forgotten")
    assert shell.text("recall", "owls") == "Nothing was found.\n"
    assert shell.text("browse") == "Nothing was found.\n"
    assert shell.complaint("get", memory_id).startswith("soma: not_found: ids: no memory has the id")


def test_store_get_browse_recall_and_forget_tell_programs_the_same(shell: Shell) -> None:
    flags = ["--type", "semantic", "--tag", "a", "--tag", "b", "--thread", "t", "--speaker", "s", "--importance", "0.9"]
    flags += ["--occurred-at", "2026-01-02", "--coordinate", "1,2", "--payload", '{"x": [1, "ü"]}', "--key", "k"]
    receipt = shell.json("store", "Gültig: ☂", *flags)
    again = shell.json("store", "Gültig: ☂", *flags)
    (memory,) = shell.json("get", receipt["id"])["memories"]

    assert (again["id"], again["version"], again["status"]) == (receipt["id"], 1, "created")
    assert memory["text"] == "Gültig: ☂"
    assert memory["tags"] == ["a", "b"]
    assert memory["payload"] == {"x": [1, "ü"]}
    assert memory["occurred_at"] == "2026-01-02T00:00:00Z"
    assert shell.json("browse", "--tag", "a", "--tag", "b")["memories"] == [memory]
    (hit,) = shell.json("recall", "gültig", "--type", "semantic")["hits"]
    assert hit["id"] == receipt["id"]
    assert shell.json("forget", receipt["id"], "--dry-run")["dry_run"] is True
    assert shell.json("forget", receipt["id"], "--purge", "--yes")["records"] == "purged"
    assert shell.json("stats")["counts"]["purged"] == 1


def test_a_file_can_come_from_standard_input_and_the_same_key_stores_it_once(shell: Shell) -> None:
    lines = '{"text":"First."}\n{"text":"Second."}\n'
    for _ in range(2):
        assert shell.json("store-bulk", "-", "--key", "k", "--no-wait", stdin=lines)["stored"] == 2

    assert shell.json("stats")["counts"]["live"] == 2
