"""Names of the library and the chapters that show them: what is found, and linked."""

import json
import re
import tomllib
from io import StringIO
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from mentions import Chapter, Library, Mention, shown
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    writes,
)
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import ple_study
from book._ext.names import inserted
from book._tools.refresh import KERNEL

ROOT = Path(__file__).parents[2]
LIBRARY = Library.read(ROOT)
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))

# Names beyond the door, by module: what the reference lists for those who read on, most
# of them helpers of a name that is shown. This list may only become shorter.
HELPERS = {
    f"{module}.{name}"
    for module, names in tomllib.loads(
        (Path(__file__).parent / "not_shown.toml").read_text(encoding="utf-8")
    ).items()
    for name in names.split()
}


def documented() -> set[str]:
    """The public names of the reference, but for its page on what is inside."""
    pages = [p for p in (ROOT / "book").glob("api*.md") if p.stem != "api_inside"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    modules = set(re.findall(r"automodule:: (\S+)", text))
    return {name for name in LIBRARY.public if name.rpartition(".")[0] in modules}


def door() -> dict[str, str]:
    """The names that `import ple_study` gives, and where each is defined."""
    return {name: LIBRARY.find(f"ple_study.{name}") for name in ple_study.__all__}


@pytest.fixture(scope="module")
def in_chapters() -> set[str]:
    """All names that some notebook shows."""
    read = (json.loads(path.read_text(encoding="utf-8")) for path in NOTEBOOKS)
    return set().union(*(shown(LIBRARY, notebook) for notebook in read))


def test_every_name_at_the_door_is_shown_in_some_chapter(in_chapters) -> None:
    unseen = {name for name, full in door().items() if full not in in_chapters}
    assert unseen == set(), "No chapter shows these names."


def test_every_other_name_is_shown_or_known_as_a_helper(in_chapters) -> None:
    unseen = documented() - in_chapters - set(door().values())
    assert unseen - HELPERS == set(), "No chapter shows these names."
    assert HELPERS - unseen == set(), "Shown, or gone: take them off not_shown.toml."


def test_the_reference_lists_what_the_door_gives() -> None:
    assert set(door().values()) <= documented()


CELLS = [
    "from ple_study import collapse as c, fit\nimport ple_study.metrics",
    "from ple_study.gates.gate import (\n    Gate,\n)\nGate",
    "ä = c.sample_entropy(fit)\ndef f(fit):\n    return fit, [Gate for Gate in fit]",
    "plots = 3\nfrom ple_study import plots",
]


def test_a_name_means_what_was_imported() -> None:
    chapter = Chapter.of(LIBRARY, CELLS)
    assert chapter.find("fit") == "ple_study.training.fit"
    assert chapter.find("c") == "ple_study.collapse"
    assert chapter.find("plots") is None  # bound in another way too
    assert chapter.find("ple_study.Batch") == "ple_study.batch.Batch"
    one, two, three, _ = map(chapter.cell, CELLS)
    assert one == [
        Mention("ple_study.collapse", 1, 22, 30),
        Mention("ple_study.training.fit", 1, 37, 40),
        Mention("ple_study.metrics", 2, 7, 24),
    ]
    assert two == [
        Mention("ple_study.gates.gate", 1, 5, 25),
        Mention("ple_study.gates.gate.Gate", 2, 4, 8),
        Mention("ple_study.gates.gate.Gate", 4, 0, 4),
    ]
    assert three == [
        Mention("ple_study.collapse.sample_entropy", 1, 6, 20),
        Mention("ple_study.collapse", 1, 4, 5),
        Mention("ple_study.training.fit", 1, 21, 24),
    ]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("fit", "ple_study.training.fit"),
        ("fit()", "ple_study.training.fit"),
        ("Gate.forward", "ple_study.gates.gate.Gate"),
        ("task_losses", "ple_study.objective.losses.task_losses"),
        ("Rows.labels[task]", None),
        ("batch", None),
        ("load", None),
        ("a b", None),
    ],
)
def test_a_name_in_the_text(words, name) -> None:
    assert Chapter.of(LIBRARY, CELLS).text(words) == name


def test_a_printed_source_speaks_of_its_module() -> None:
    chapter = Chapter.of(LIBRARY, ["from ple_study.baselines import PLE"])
    code = "class PLE:\n    def forward(self, PLESpec):\n        return Gate, CGCLayer"
    (one,) = chapter.printed("notebook.source(PLE)", code)
    assert one == Mention("ple_study.gates.cgc.CGCLayer", 3, 21, 29)
    assert chapter.printed("print(1)", code) == []


def test_links_go_round_the_names_alone() -> None:
    html = "<div><pre><span></span><b>a</b> &lt; <b>fit</b>\n<b>fit</b></pre></div>"
    spots = {(1, 4): (3, "<a>"), (2, 0): (2, "<a>")}
    assert inserted(html, spots) == html.replace("<b>fit</b>\n", "<b><a>fit</a></b>\n")


LIBRARY_PAGE = """
Library
=======

.. py:module:: ple_study.toys

.. py:function:: build(size)

   Build one.

.. py:class:: Toy

   One toy.

   .. py:method:: play()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, BeautifulSoup]:
    """A book of one chapter about a library of one module."""
    folder = tmp_path_factory.mktemp("names")
    source, complaints = folder / "source", StringIO()
    (source / "ple_study").mkdir(parents=True)
    toys = 'def build(size):\n    """Build."""\n\n\nclass Toy:\n    """A toy."""\n'
    (source / "ple_study" / "toys.py").write_text(toys)
    (source / "index.rst").write_text("Book\n====\n\n.. toctree::\n\n   one\n   api\n")
    (source / "api.rst").write_text(LIBRARY_PAGE)
    printed = {"text/markdown": "```python\nclass Toy:\n    made = build\n```"}
    cell = new_code_cell(
        "build(2)\nbuild(Toy)",
        execution_count=2,
        outputs=[new_output("display_data", printed)],
        metadata={"tags": ["hide-input"]},
    )
    cells = [
        new_markdown_cell("# The toys of `build`\n\nA `Toy`, a `Toy`, a `toy`."),
        new_code_cell("from ple_study.toys import Toy, build", execution_count=1),
        cell,
    ]
    notebook = new_notebook(metadata={"kernelspec": KERNEL}, cells=cells)
    (source / "one.ipynb").write_text(writes(notebook))
    config = {
        "extensions": ["myst_nb", "book._ext.names"],
        "html_theme": "basic",
        "nb_execution_mode": "off",
        "exclude_patterns": ["ple_study"],
    }
    places = (source, None, folder / "html", folder / "trees")
    with docutils_namespace():
        Sphinx(*places, "html", config, status=None, warning=complaints).build()
    assert complaints.getvalue() == ""
    return {
        name: BeautifulSoup(
            (folder / "html" / f"{name}.html").read_text(), "html.parser"
        )
        for name in ("one", "api")
    }


def test_a_chapter_links_to_the_reference(site) -> None:
    inputs = site["one"].select(".cell_input pre")
    links = [[(a.text, a["href"]) for a in cell.select("a.name")] for cell in inputs]
    toy, build = "api.html#ple_study.toys.Toy", "api.html#ple_study.toys.build"
    module = "api.html#module-ple_study.toys"
    assert links == [
        [("ple_study.toys", module), ("Toy", toy), ("build", build)],
        [("build", build), ("Toy", toy)],
    ]
    (printed,) = site["one"].select(".cell_output pre")
    assert [a.text for a in printed.select("a.name")] == ["build"]
    assert [a.text for a in site["one"].select("p a:has(code)")] == ["Toy"]
    assert not site["one"].select("h1 a:has(code)")


def test_the_reference_links_to_the_chapter(site) -> None:
    lines = site["api"].select("p.shown-in")
    assert [line.text for line in lines] == ["Shown in The toys of build"] * 2
    for line, name in zip(lines, ("build", "Toy"), strict=True):
        assert line.a["href"] == f"one.html#shown-ple_study.toys.{name}"
        (spot,) = site["one"].find_all(id=f"shown-ple_study.toys.{name}")
        assert not spot.find_parent(class_="tag_hide-input")
