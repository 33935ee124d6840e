"""What the contract suites show at their end: which adapter does which behaviour."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest

OUTCOMES = ("passed", "skipped", "failed", "error")
PROPERTIES = "contract"
Table = dict[str, dict[str, Counter[str]]]
"""By behaviour and adapter, how many tests of it came to which outcome."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note which port's behaviour is tested on which adapter, where the test is inherited from a contract."""
    if isinstance(item, pytest.Function) and item.cls and (port := _port(item.cls, item.originalname)):
        item.user_properties.append((PROPERTIES, (port, item.cls.__name__.removeprefix("Test"), item.originalname)))


def _port(adapter: type, behaviour: str) -> str | None:
    """The port whose contract has the behaviour; None for what is an adapter's own."""
    owner = next(each for each in adapter.__mro__ if behaviour in vars(each))
    return owner.__name__.removesuffix("Contract") if owner.__name__.endswith("Contract") else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table for each port; under xdist the process that gathers the reports does."""
    found: dict[str, dict[str, dict[str, Counter[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(Counter))
    )
    reasons: dict[tuple[str, str, str], str] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):  # a file that could not be collected has none
                if name == PROPERTIES:
                    port, adapter, behaviour = value
                    found[port][behaviour][adapter][outcome] += 1
                    if outcome == "skipped":
                        reasons[port, behaviour, adapter] = str(report.longrepr[2]).removeprefix("Skipped: ")
    for port in sorted(found):
        adapters = sorted({adapter for row in found[port].values() for adapter in row})
        terminalreporter.section(f"{port}: {', '.join(adapters)}")
        for behaviour, row in sorted(found[port].items()):
            cells = "  ".join(_cell(row[adapter]).ljust(12) for adapter in adapters)
            terminalreporter.write_line(f"{cells}  {_sentence(behaviour)}")
        _write_reasons(terminalreporter, port, reasons.items())


def _cell(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]) or "-"


def _sentence(behaviour: str) -> str:
    return behaviour.removeprefix("test_").replace("_", " ")


def _write_reasons(
    terminal: pytest.TerminalReporter, port: str, reasons: Iterable[tuple[tuple[str, str, str], str]]
) -> None:
    for (of, behaviour, adapter), reason in reasons:
        if of == port:
            terminal.write_line(f"skipped: {adapter}: {_sentence(behaviour)}: {reason}")
