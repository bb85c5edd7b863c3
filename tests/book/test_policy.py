"""Every notebook of the book keeps the policy, and each rule of it bites."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book._tools.refresh import KERNEL
from tests.book.policy import complaints

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_policy(path: Path) -> None:
    assert complaints(nbformat.read(path, as_version=4)) == []


def test_every_notebook_is_in_the_contents() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {c["file"] for part in toc["parts"] for c in part["chapters"]}
    assert {f"book/{path.stem}" for path in NOTEBOOKS} <= listed


def good() -> NotebookNode:
    """Make a notebook that keeps every rule."""
    figure = new_output("display_data", {"image/svg+xml": "<svg/>"})
    alt = {"mystnb": {"image": {"alt": "A line that rises and then falls"}}}
    text = new_output("stream", name="stdout", text="AUC 0.81")
    return new_notebook(
        metadata={"kernelspec": KERNEL},
        cells=[
            new_code_cell("draw()", execution_count=1, outputs=[figure], metadata=alt),
            new_code_cell("print(auc)", execution_count=2, outputs=[text]),
        ],
    )


def test_the_good_notebook_passes() -> None:
    assert complaints(good()) == []


Break = Callable[[NotebookNode], object]
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=["no"])
BREAKS: dict[str, Break] = {
    "execution counts": lambda nb: nb.cells[1].update(execution_count=None),
    "kernelspec": lambda nb: nb.metadata.update(language_info={"version": "3.11.7"}),
    "timing": lambda nb: nb.cells[0].metadata.update(execution={}),
    "has tags": lambda nb: nb.cells[1].metadata.update(tags=["nbval-skip"]),
    "a shell command": lambda nb: nb.cells[1].update(source="!ls"),
    "an nbval marker": lambda nb: nb.cells[1].update(source="# NBVAL_SKIP\n1"),
    "clear_output": lambda nb: nb.cells[1].update(source="clear_output()"),
    "semicolon": lambda nb: nb.cells[1].update(source="auc;"),
    "disagree": lambda nb: nb.cells[1].outputs.append(ERROR),
    "a warning": lambda nb: nb.cells[1].outputs[0].update(name="stderr"),
    "a path": lambda nb: nb.cells[1].outputs[0].update(text="<f at 0x7f3a>"),
    "more than one figure": lambda nb: nb.cells[0].outputs.append(
        nb.cells[0].outputs[0]
    ),
    "no mystnb.image.alt": lambda nb: nb.cells[0].metadata.clear(),
    "not compared": lambda nb: nb.cells[1].metadata.update(
        tags=["nbval-ignore-output"]
    ),
    "without a why": lambda nb: nb.cells[1].metadata.update(tolerance={"atol": 0.01}),
    "above": lambda nb: nb.cells[1].metadata.update(
        tolerance={"atol": 0.2, "why": "training"}
    ),
    "rtol=0.001 is above": lambda nb: nb.cells[1].metadata.update(
        tolerance={"rtol": 0.001, "why": "no key that the gate reads"}
    ),
}


@pytest.mark.parametrize("complaint", BREAKS)
def test_a_broken_rule_is_reported(complaint: str) -> None:
    notebook = good()
    BREAKS[complaint](notebook)
    assert any(complaint in line for line in complaints(notebook))
