"""The notebook gate, a pytest plugin over nbval.

    python -m pytest -p tests.book.gate --nbval book

nbval runs every cell again and compares what it shows. The plugin compares numbers
with a tolerance and figures by their shapes, and closes nbval's silent passes: a cell
that was never run, that asks to be skipped, or that promised an exception.

What a chapter records for the ledger goes into a folder that is thrown away: the
ledger is compared as it is on record, whichever chapters ran before it.

A notebook whose data cannot be fetched says so by the tag `needs-data:<folder>` on a
cell. Where PLE_STUDY_DATA has no such folder it is skipped, unless nothing may be.
"""

import os
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from nbval.plugin import IPyNbCell

from book._tools import kernel
from tests.book.compare import Tolerance, output_difference
from tests.book.policy import NEEDS_DATA, tags

seconds: dict[str, float] = defaultdict(float)


def tolerance_of(cell) -> Tolerance:
    """Read a cell's own tolerance; tests/book/policy.py bounds it."""
    own = cell.metadata.get("tolerance", {})
    return Tolerance(**{key: own[key] for key in ("atol", "px") if key in own})


def compare_outputs(self: IPyNbCell, test, ref, skip_compare=None) -> bool:
    """Stand in for nbval's own method, whose signature this is."""
    del skip_compare
    difference = output_difference(ref, test, tolerance_of(self.cell))
    self.comparison_traceback = [difference or ""]
    return difference is None


def missing_data(notebook) -> str | None:
    """Name a folder of data that a notebook needs and this machine lacks."""
    data = Path(os.environ.get("PLE_STUDY_DATA", "."))
    for tag in (tag for cell in notebook.cells for tag in tags(cell)):
        folder = tag.removeprefix(NEEDS_DATA)
        if folder != tag and not (data / folder).is_dir():
            return folder
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Teach nbval to compare, and fix what every kernel inherits."""
    recorded = TemporaryDirectory()
    config.add_cleanup(recorded.cleanup)
    os.environ.update(kernel.ENVIRONMENT, PLE_STUDY_CLAIMS=recorded.name)
    IPyNbCell.compare_outputs = compare_outputs


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a cell whose outputs could not be compared."""
    if not isinstance(item, IPyNbCell):
        return
    if folder := missing_data(item.parent.nb):
        pytest.skip(f"no data: put {folder}/ into the folder named by PLE_STUDY_DATA")
    raised = any(out.output_type == "error" for out in item.cell.outputs)
    if item.cell.execution_count is None:
        pytest.fail("the cell was never run: run `make refresh`", pytrace=False)
    if item.options["skip"]:
        pytest.fail("the cell asks to be skipped", pytrace=False)
    if item.options["check_exception"] and not (raised and item.options["check"]):
        pytest.fail("a cell that raises must store its error", pytrace=False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the time of each notebook."""
    seconds[report.nodeid.split("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each notebook took, the slowest first."""
    terminalreporter.section(f"notebooks (budget {kernel.NOTEBOOK_SECONDS} s each)")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        late = "  OVER BUDGET" if spent > kernel.NOTEBOOK_SECONDS else ""
        terminalreporter.line(f"{spent:6.1f} s  {name}{late}")
