"""Run notebooks from top to bottom on the CPU and store what they show.

    python -m book._tools.refresh [notebook ...]

A second run changes no byte: nothing is kept that depends on the day or the machine.
"""

import json
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from book._tools import kernel

BOOK = Path(__file__).parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read(path: Path) -> NotebookNode:
    """Read a notebook; a cell without an id gets its number, not a random one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["nbformat_minor"] = 5
    for number, cell in enumerate(content["cells"]):
        cell.setdefault("id", f"cell-{number}")
    return nbformat.reads(json.dumps(content), as_version=4)


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run every cell in a fresh kernel on the CPU, as a reader would in Jupyter."""
    NotebookClient(
        notebook,
        timeout=kernel.CELL_SECONDS,
        kernel_name=KERNEL["name"],
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    ).execute(env=kernel.environment(PLE_STUDY_DEVICE="cpu"))


def strip(notebook: NotebookNode) -> None:
    """Drop what differs between two machines: versions, timings, file paths."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]


def refresh(path: Path) -> None:
    """Replace the stored outputs of one notebook by those of a new run."""
    notebook = read(path)
    execute(notebook, path.parent)
    strip(notebook)
    nbformat.write(notebook, path)


def main() -> None:
    """Refresh the notebooks named on the command line, or all of the book."""
    for path in map(Path, sys.argv[1:] or sorted(BOOK.glob("*.ipynb"))):
        start = time.perf_counter()
        refresh(path)
        print(f"{path}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
