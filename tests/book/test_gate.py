"""The gate fails what is wrong: mistakes planted in copies of a small notebook."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from book._tools.refresh import refresh
from tests.book import small
from tests.book.gate import missing_data

ROOT = Path(__file__).parents[2]
GATE = [
    "-p",
    "tests.book.gate",
    "--nbval",
    "--nbval-current-env",
    "-p",
    "no:cacheprovider",
]
NUMBER, FIGURE, ERROR = 1, 2, 3
LEDGER = """\
from ple_study.claims import Ledger

print(Ledger("claims").record("1", [1.0, {second}]))"""
CLAIM = """\
[claims.1]
statement = "s"
source = "p"
chapter = "c"
measure = "m"
bar = { words = "above 0", rule = "interval above 0", seeds = 2 }
"""


def change(cell: int, old: str, new: str) -> Callable[[NotebookNode], None]:
    """Plant another text in the stored outputs of one cell."""

    def plant(notebook: NotebookNode) -> None:
        for output in notebook.cells[cell].outputs:
            stored = output.data if "data" in output else output
            for kind, text in stored.items():
                if isinstance(text, str):
                    stored[kind] = text.replace(old, new)

    return plant


def unrun(notebook: NotebookNode) -> None:
    """Store a cell as nobody ran it; plain nbval lets this pass."""
    notebook.cells[NUMBER].update(execution_count=None, outputs=[])


def skipped(notebook: NotebookNode) -> None:
    """Ask nbval to leave a cell out."""
    notebook.cells[NUMBER].metadata["tags"] = ["nbval-skip"]


def calm(notebook: NotebookNode) -> None:
    """Promise an exception that does not come; plain nbval lets this pass."""
    notebook.cells[ERROR].update(source="1 / 1", outputs=[])


PLANTED = {
    "number": change(NUMBER, "0.8125", "0.8225"),
    "integer": change(NUMBER, "3", "4"),
    "error": change(ERROR, "division", "multiplication"),
    "label": change(FIGURE, ">0.30<", ">0.31<"),
    "unrun": unrun,
    "skipped": skipped,
    "calm": calm,
}


def move_point(drawing: str) -> str:
    """Move the middle of the line by twenty pixels."""
    line = re.search(r'(<path d="M [\d.]+ [\d.]+ \nL [\d.]+ )([\d.]+)( \nL)', drawing)
    assert line, "the small figure draws a line of three points"
    moved = f"{line[1]}{float(line[2]) + 20}{line[3]}"
    return drawing.replace(line[0], moved)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run the gate once over the right notebook and all the wrong ones."""
    folder = tmp_path_factory.mktemp("notebooks")
    right = small.write(folder / "right.ipynb")
    for name, plant in PLANTED.items():
        notebook = nbformat.read(right, as_version=4)
        plant(notebook)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    notebook = nbformat.read(right, as_version=4)
    svg = notebook.cells[FIGURE].outputs[0].data
    svg["image/svg+xml"] = move_point(svg["image/svg+xml"])
    nbformat.write(notebook, folder / "figure.ipynb")
    command = [sys.executable, "-m", "pytest", *GATE, "-q", "-rA", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout


def failed(outcome: str, name: str) -> list[str]:
    """List the cells of one notebook that did not pass."""
    return re.findall(rf"^(?:FAILED|ERROR) \S*{name}\.ipynb::(Cell \d)", outcome, re.M)


def test_the_right_notebook_passes(outcome: str) -> None:
    assert outcome.count("right.ipynb::Cell") >= 3
    assert failed(outcome, "right") == []


@pytest.mark.parametrize("name", [*PLANTED, "figure"])
def test_a_planted_mistake_fails(outcome: str, name: str) -> None:
    assert len(failed(outcome, name)) == 1


def test_the_time_of_each_notebook_is_reported(outcome: str) -> None:
    assert "notebooks (budget 240 s each)" in outcome
    assert re.search(r"\d\.\d s  \S*right\.ipynb", outcome)


def test_a_notebook_whose_data_are_missing_is_skipped() -> None:
    cell = new_code_cell("load()", metadata={"tags": ["needs-data:no-such-folder"]})
    assert missing_data(new_notebook(cells=[cell])) == "no-such-folder"
    assert missing_data(new_notebook(cells=[new_code_cell("load()")])) is None


def test_a_check_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "definitions.toml").write_text(CLAIM, encoding="utf-8")
    path = tmp_path / "chapter.ipynb"
    cell = new_code_cell(LEDGER.format(second=1.1), id="cell-0")
    nbformat.write(new_notebook(cells=[cell]), path)
    refresh(path)
    result = tmp_path / "claims" / "results" / "1.json"
    before = result.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = LEDGER.format(second=1.10001)  # within the tolerance
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", *GATE, "-q", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert result.read_bytes() == before
    assert list(result.parent.iterdir()) == [result]


def test_a_second_run_changes_no_byte(tmp_path: Path) -> None:
    path, here = small.write(tmp_path / "small.ipynb"), dict(os.environ)
    before = path.read_bytes()
    refresh(path)
    assert path.read_bytes() == before
    assert os.environ == here  # a kernel's settings are no other test's
