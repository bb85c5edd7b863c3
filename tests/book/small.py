"""A small notebook for the tests of the gate, made and run in a test's own folder."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book._tools.refresh import refresh

FIGURE = """\
import matplotlib.pyplot as plt
from matplotlib_inline.backend_inline import set_matplotlib_formats

set_matplotlib_formats("svg", metadata={"Date": None})
plt.rcParams.update({"svg.hashsalt": "small", "svg.fonttype": "none"})
fig, ax = plt.subplots(figsize=(3, 2))
line = ax.plot([1, 2, 3], [0.1, 0.3, 0.2], label="PLE")"""
ALT = "A line that rises from 0.1 to 0.3 and falls to 0.2"


def write(path: Path) -> Path:
    """Write the notebook and store its outputs, as an author would."""
    figure = new_code_cell(FIGURE, metadata={"mystnb": {"image": {"alt": ALT}}})
    cells = [
        new_markdown_cell("# Small"),
        new_code_cell("print('AUC', 0.8125, 'over', 3, 'seeds')"),
        figure,
        new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    nbformat.write(new_notebook(cells=cells), path)
    refresh(path)
    return path
