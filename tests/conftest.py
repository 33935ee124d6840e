"""Fixtures of services that all kinds of tests may use."""

from __future__ import annotations

from tests.support.postgres import database, postgres

__all__ = ["database", "postgres"]
