"""The fuzz tests say how many cases they tried."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fuzz.strategies import COUNT


@pytest.fixture(autouse=True)
def _counted(record_property: Callable[[str, object], None]) -> Iterator[None]:
    before = COUNT.copy()
    yield
    for name in ("answered", "refused"):
        record_property(name, COUNT[name] - before[name])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Sum what the tests recorded, in whatever process they ran."""
    found = {"answered": 0, "refused": 0}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for name, count in report.user_properties:
                    if name in found:
                        found[name] += count
    if any(found.values()):
        terminalreporter.write_line(
            f"Fuzzed {sum(found.values())} cases: {found['answered']} answered, "
            f"{found['refused']} refused."
        )
