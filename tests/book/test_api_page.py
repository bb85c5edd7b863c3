"""The reference lists the library as it is, and the chapters that use each part."""

import re
from pathlib import Path

from mentions import Library
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes
from uses import modules, table, used

ROOT = Path(__file__).parents[2]


def test_every_module_is_listed_once() -> None:
    pages = sorted((ROOT / "book").glob("api*.md"))
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert sorted(re.findall(r"automodule:: (\S+)", text)) == modules(ROOT)


def test_a_chapter_is_listed_under_what_it_uses(tmp_path: Path) -> None:
    cells = [
        new_markdown_cell("from ple_study.batch import Batch"),
        new_code_cell("from ple_study import fit, plots\nimport ple_study.metrics"),
        new_code_cell("from ple_study.gates.cgc import CGCLayer"),
    ]
    chapter = tmp_path / "chapter.ipynb"
    chapter.write_text(writes(new_notebook(cells=cells)), encoding="utf-8")
    assert used(chapter, Library.read(ROOT)) == {
        "ple_study.training",  # whence the door has `fit`
        "ple_study.plots",
        "ple_study.metrics",
        "ple_study.gates.cgc",
    }
    rows = table([chapter], ROOT)
    assert "| {py:mod}`ple_study.plots` | {doc}`chapter` |" in rows
    assert not any("ple_study.batch" in row for row in rows)
