"""The commands `soma token`, run as a person or a program runs them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soma_core.domain.memory import Scope
from soma_core.domain.tokens import Token
from soma_core.engine import Soma
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma
from tests.e2e.clients import Shell, files_holding

SECRET = r"soma_([0-9a-f]{12})_[A-Za-z0-9_-]{43}"


def authenticated(memory: SharedSoma, secret: str) -> Token | None:
    """Whose token it is."""
    return memory._call(Soma.authenticate, Scope("api_ns"), secret)


def test_a_person_makes_a_token_sees_it_once_and_revokes_it(shell: Shell) -> None:
    made = shell.run("token", "create", "--namespace", "team", "--scopes", "read", "--expires", "30d", "--name", "ci")
    found = re.fullmatch(rf"{SECRET}\n", made.stdout.decode())
    assert found
    assert b"not shown again" in made.stderr
    assert made.stdout.strip() not in made.stderr

    listed = shell.text("token", "list")
    assert re.fullmatch(rf"{found[1]} 'ci': read in team, expires [0-9-]+ [0-9:]+ UTC\n", listed)
    assert shell.text("token", "revoke", found[1]).startswith(f"revoked {found[1]} 'ci'")
    assert ", revoked " in shell.text("token", "list")
    assert files_holding(shell.home, found[0].strip()[18:]) == []


def test_a_program_gets_the_same_as_json(shell: Shell) -> None:
    assert shell.json("token", "list") == {"tokens": []}
    made = shell.json("token", "create")
    secret = made.pop("token")
    assert re.fullmatch(SECRET, secret)
    created = datetime.fromisoformat(made["created_at"])
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    expected = {"id": secret[5:17], "namespace": "api_ns", "scopes": ["read", "write"], "name": None}
    assert made == expected | {
        "created_at": made["created_at"],
        "expires_at": None,
        "revoked_at": None,
        "usable": True,
    }
    assert shell.json("token", "list") == {"tokens": [made]}
    revoked = shell.json("token", "revoke", made["id"])
    assert revoked == made | {"usable": False, "revoked_at": revoked["revoked_at"]}
    assert shell.json("token", "revoke", made["id"]) == revoked


def test_tokens_are_made_listed_and_revoked_while_another_process_owns_the_folder(shell: Shell) -> None:
    owner = SharedSoma(load_settings({}, home=shell.home, disk_reserve="0"), stay=False)
    try:
        secret = shell.json("token", "create", "--scopes", "admin", "--expires", "2099-12-31")["token"]
        token = authenticated(owner, secret)
        assert token is not None
        assert (token.scopes, token.expires_at) == (("admin",), datetime(2100, 1, 1, tzinfo=UTC))
        follower = SharedSoma(load_settings({}, home=shell.home), stay=False)
        assert not follower.owns
        assert authenticated(follower, secret) == token
        assert follower.tokens(Scope("api_ns")) == [token]
        follower.close()
        shell.run("token", "revoke", token.id)
        assert authenticated(owner, secret) is None
    finally:
        owner.close()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["create", "--scopes", "root"], "scopes: is 'root', must be one of read, write, admin"),
        (["create", "--scopes", ""], "scopes: is '', must be one of read, write, admin"),
        (["create", "--expires", "yesterday"], "expires: is 'yesterday', must be an ISO 8601"),
        (["create", "--expires", "2020-01-01"], "expires: is 2020-01-02T00:00:00+00:00, which is past"),
        (["create", "--expires", "0d"], "expires: must be 1 to 36500 days"),
        (["create", "--name", " "], "name: must not be empty"),
        (["create", "--namespace", " "], "SOMA_MEMORY_NAMESPACE: must not be empty"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(shell: Shell, args: list[str], message: str) -> None:
    refused = shell.refusal_here("token", *args)
    assert (refused["code"], refused["message"].startswith(message)) == ("invalid_input", True), refused
    assert not shell.home.exists()


def test_an_unknown_token_is_not_revoked(shell: Shell) -> None:
    assert shell.complaint("token", "revoke", "0" * 12).startswith("soma: not_found: id: there is no such token")


def test_tokens_are_not_made_over_the_network(shell: Shell, tmp_path: Path) -> None:
    refused = shell.complaint("token", "create", SOMA_URL="http://127.0.0.1:9")
    assert refused.startswith("soma: invalid_input: SOMA_URL: must not be set")


def test_the_help_tells_the_use(shell: Shell) -> None:
    assert {"create", "list", "revoke"} <= set(shell.text("token", "--help").split())
    assert "  token " in shell.text("--help")
    for name in ("create", "list", "revoke"):
        assert "--json" in shell.text("token", name, "--help")
