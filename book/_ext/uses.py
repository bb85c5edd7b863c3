"""The directive `uses`: which chapters use which module of the library."""

import ast
import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from mentions import PACKAGE, Chapter, Library, cells
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def modules(root: Path) -> list[str]:
    """Name every module that is more than a package's door."""
    found = []
    for path in (root / PACKAGE).rglob("*.py"):
        place = path.relative_to(root).with_suffix("")
        if place.name == "__init__":
            place = place.parent
            if not defines(path):
                continue
        found.append(".".join(place.parts))
    return sorted(found)


def defines(path: Path) -> bool:
    """Whether a file has public functions or classes of its own."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    own = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return any(not node.name.startswith("_") for node in own)


def used(notebook: Path, library: Library) -> set[str]:
    """Name the modules that hold what a notebook's code names."""
    stored = json.loads(notebook.read_text(encoding="utf-8"))
    code = [source for source, _ in cells(stored, "code")]
    chapter = Chapter.of(library, code)
    names = {one.name for source in code for one in chapter.cell(source)}
    return {n if n in library.modules else n.rpartition(".")[0] for n in names}


def table(notebooks: list[Path], root: Path) -> list[str]:
    """Write the table, a row for each module of which some chapter names a part."""
    library = Library.read(root)
    found = {path.stem: used(path, library) for path in notebooks}
    lines = ["| Module | Chapters |", "| --- | --- |"]
    for module in modules(root):
        chapters = [name for name, names in found.items() if module in names]
        if chapters:
            links = ", ".join(f"{{doc}}`{name}`" for name in chapters)
            lines.append(f"| {{py:mod}}`{module}` | {links} |")
    return lines


class Uses(SphinxDirective):
    """Chapters that are part of the book, and what they use."""

    def run(self) -> list[nodes.Node]:
        """Answer the table, in the markup of the page that asks for it."""
        book = Path(self.env.doc2path(self.env.docname)).parent
        docs = {Path(self.env.doc2path(name)) for name in self.env.found_docs}
        notebooks = sorted(path for path in docs if path.suffix == ".ipynb")
        for notebook in notebooks:
            self.env.note_dependency(str(notebook))
        lines = table(notebooks, book.parent)
        node = nodes.container()
        self.state.nested_parse(StringList(lines), self.content_offset, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("uses", Uses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
