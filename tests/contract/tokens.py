"""What every `TokenStore` does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from soma_core.domain.errors import Conflict
from soma_core.domain.tokens import Token
from soma_core.ports.tokens import TokenStore
from tests.contract.records import STRANGE_NAMES
from tests.support.clock import NOON

Reopen = Callable[[], TokenStore]


def token(number: int = 1, **fields: object) -> Token:
    made = Token(f"{number:012x}", "api_ns", ("read",), NOON + timedelta(seconds=number))
    return replace(made, **fields)  # type: ignore[arg-type]


class TokensContract:
    """Give the fixtures `tokens`, `reopen` (closes, opens again) and `disk` (sets how many bytes are left)."""

    def test_a_token_is_found_as_it_was_added_also_after_reopening(self, tokens: TokenStore, reopen: Reopen) -> None:
        given = token(
            scopes=("read", "write", "admin"),
            expires_at=datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
            name="naïve 🦊",
        )
        tokens.add(given, b"\x00digest\xff")
        assert tokens.find(given.id) == (given, b"\x00digest\xff")
        assert reopen().find(given.id) == (given, b"\x00digest\xff")

    def test_an_unknown_id_is_not_found_whatever_it_holds(self, tokens: TokenStore) -> None:
        tokens.add(token(), b"digest")
        for unknown in ("", "0" * 12, "' OR 1=1 --", "%", token().id.upper() + "x"):
            assert tokens.find(unknown) is None
            assert tokens.revoke(unknown, NOON) is None

    def test_an_id_that_is_taken_is_refused_and_the_first_token_stays(self, tokens: TokenStore) -> None:
        tokens.add(token(), b"first")
        with pytest.raises(Conflict):
            tokens.add(token(namespace="other"), b"second")
        assert tokens.find(token().id) == (token(), b"first")

    def test_all_namespaces_are_listed_the_oldest_first_then_by_id(self, tokens: TokenStore) -> None:
        assert tokens.list() == []
        early = [token(900 - n, namespace=name, created_at=NOON) for n, name in enumerate(STRANGE_NAMES)]
        late = [token(n) for n in (2, 1, 3)]
        for each in (*late, *early):
            tokens.add(each, b"digest")
        assert tokens.list() == [*reversed(early), token(1), token(2), token(3)]

    def test_a_revoked_token_stays_with_the_moment_of_its_first_revocation(
        self, tokens: TokenStore, reopen: Reopen
    ) -> None:
        for each in (token(1), token(2)):
            tokens.add(each, b"digest")
        revoked = replace(token(1), revoked_at=NOON)
        assert tokens.revoke(token(1).id, NOON) == revoked
        assert tokens.revoke(token(1).id, NOON + timedelta(days=1)) == revoked
        assert reopen().list() == [revoked, token(2)]

    def test_many_threads_add_and_revoke_and_nothing_is_lost(self, tokens: TokenStore) -> None:
        def work(number: int) -> None:
            tokens.add(token(number), b"digest")
            tokens.revoke(token(number).id, NOON)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(40)))
        assert tokens.list() == [replace(token(n), revoked_at=NOON) for n in range(40)]

    def test_a_disk_below_its_reserve_does_not_keep_a_token_alive(
        self, tokens: TokenStore, disk: Callable[[int], None]
    ) -> None:
        tokens.add(token(), b"digest")
        disk(0)
        assert tokens.revoke(token().id, NOON) == token(revoked_at=NOON)
