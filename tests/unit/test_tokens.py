"""Tokens: what may be asked for, and which secrets are good."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soma_core.domain.errors import InvalidInput, NotFound
from soma_core.domain.tokens import parse_expiry, parse_scopes
from tests.support.clock import NOON
from tests.support.engine import SCOPE, Engine, opened


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ("read", ("read",)),
        (" write, read ", ("read", "write")),
        ("admin read\twrite", ("read", "write", "admin")),
        (["write", "write"], ("write",)),
    ],
)
def test_scopes_are_read_from_text_and_lists(given: object, scopes: tuple[str, ...]) -> None:
    assert parse_scopes(given) == scopes


@pytest.mark.parametrize(
    "given", ["", ",", "READ", "read;write", "read,,all", [], ["read", 5], 5, None, {"read": 1}.items()]
)
def test_other_scopes_are_refused(given: object) -> None:
    with pytest.raises(InvalidInput, match=r"^scopes: .*read, write, admin"):
        parse_scopes(given)


def test_the_end_of_a_token_is_in_days_or_a_time_and_a_date_includes_its_day() -> None:
    assert parse_expiry("30d", NOON) == NOON + timedelta(days=30)
    assert parse_expiry("2026-03-14", NOON) == datetime(2026, 3, 15, tzinfo=UTC)
    assert parse_expiry("2026-03-14T14:00+01:00", NOON) == datetime(2026, 3, 14, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    "given", ["", "0d", "-1d", "99999d", "30", "d", "٣d", "soon", "2026-03-13", "2026-03-14T12:00Z", 30]
)
def test_other_ends_are_refused(given: object) -> None:
    with pytest.raises(InvalidInput, match=r"^expires: "):
        parse_expiry(given, NOON)


def test_a_token_is_good_until_it_ends(engine: Engine) -> None:
    made = engine.soma.create_token(SCOPE, "team", ["write", "read"], NOON + timedelta(hours=1), "ci")
    assert re.fullmatch(rf"soma_{made.token.id}_[A-Za-z0-9_-]{{43}}", made.secret)
    assert (made.token.namespace, made.token.scopes, made.token.name) == ("team", ("read", "write"), "ci")
    engine.clock.advance(minutes=59, seconds=59.999999)
    assert engine.soma.authenticate(SCOPE, made.secret) == made.token
    engine.clock.advance(seconds=0.000001)
    assert engine.soma.authenticate(SCOPE, made.secret) is None
    assert engine.soma.tokens(SCOPE) == [made.token]


def test_a_revoked_token_is_good_for_nothing_and_others_stay_good(engine: Engine) -> None:
    first, second = (engine.soma.create_token(SCOPE, "a", ["read"], None, None) for _ in range(2))
    revoked = engine.soma.revoke_token(SCOPE, first.token.id)
    assert revoked.revoked_at == NOON
    assert engine.soma.authenticate(SCOPE, first.secret) is None
    assert engine.soma.authenticate(SCOPE, second.secret) == second.token
    with pytest.raises(NotFound):
        engine.soma.revoke_token(SCOPE, "0" * 12)


def test_a_secret_that_is_almost_right_is_not(engine: Engine) -> None:
    made = engine.soma.create_token(SCOPE, "a", ["admin"], None, None)
    other = engine.soma.create_token(SCOPE, "b", ["admin"], None, None)
    secret = made.secret
    wrong: list[Any] = [secret[:-1] + ("B" if secret[-1] != "B" else "C"), secret + " ", secret[:-1], secret.upper()]
    wrong += [f"soma_{other.token.id}_{secret[18:]}", f"soma_{made.token.id}_", "", "é" * 60, "\ud800"]
    assert [each for each in wrong if engine.soma.authenticate(SCOPE, each) is not None] == []


def test_only_the_hash_of_a_secret_is_in_the_files(engine: Engine) -> None:
    made = engine.soma.create_token(SCOPE, "a", ["read"], None, "a name")
    engine.records.close()
    files = b"".join(path.read_bytes() for path in engine.path.parent.iterdir())
    assert b"a name" in files
    assert hashlib.sha256(made.secret.encode()).digest() in files
    assert made.secret[18:].encode() not in files


@pytest.mark.parametrize(
    "bad",
    [
        {"namespace": " "},
        {"namespace": "x" * 1_025},
        {"scopes": []},
        {"scopes": ["root"]},
        {"expires_at": NOON},
        {"name": ""},
        {"name": "x" * 257},
    ],
)
def test_a_token_that_cannot_be_is_not_made(engine: Engine, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        engine.soma.create_token(
            SCOPE, **({"namespace": "a", "scopes": ["read"], "expires_at": None, "name": None} | bad)
        )
    assert engine.soma.tokens(SCOPE) == []
