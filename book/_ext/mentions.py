"""What a chapter's code, printed sources and text mention of the library.

In code a name means what the chapter imported, in a printed source what its module
did; in the text also what the library has once under that name, if no ordinary word is
written like it.
"""

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "ple_study"
CODE = re.compile(r"[A-Za-z_][\w.]*")
WRITTEN = re.compile(r"[A-Z].*[a-z]|[a-z]_[a-z]")  # Batch, task_losses; not batch, AUC
COMPREHENSION = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
LOCAL = ast.FunctionDef | ast.Lambda | COMPREHENSION
Find = Callable[[str], str | None]


@dataclass(frozen=True)
class Library:
    """What each module defines, and what it takes from another."""

    modules: dict[str, dict[str, str]]  # module: name: where that name comes from
    public: frozenset[str]  # functions and classes that the reference lists, in full

    @classmethod
    def read(cls, root: Path) -> "Library":
        """Read the package that lies in a folder, without importing it."""
        modules: dict[str, dict[str, str]] = {}
        public = set()
        for path in sorted((root / PACKAGE).rglob("*.py")):
            place = path.relative_to(root).with_suffix("")
            place = place.parent if place.name == "__init__" else place
            module = ".".join(place.parts)
            names = modules.setdefault(module, {})
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    for alias in node.names:
                        taken = f"{node.module}.{alias.name}"
                        names[alias.asname or alias.name] = taken
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    names[node.name] = f"{module}.{node.name}"
                    if not node.name.startswith("_") and ast.get_docstring(node):
                        public.add(f"{module}.{node.name}")
        return cls(modules=modules, public=frozenset(public))

    def find(self, name: str) -> str | None:
        """Where a dotted name is defined: a public name or a module, or None."""
        while name not in self.public and name not in self.modules:
            module, _, last = name.rpartition(".")
            taken = self.modules.get(module, {}).get(last, name)
            if taken == name:
                return None
            name = taken
        return name

    def within(self, module: str) -> Find:
        """What names mean in the source of a module."""

        def find(words: str) -> str | None:
            first, dot, rest = words.partition(".")
            taken = self.modules[module].get(first)
            return self.find(f"{taken}{dot}{rest}") if taken else None

        return find

    def alone(self, words: str) -> str | None:
        """The public name that words mean without an import."""
        if not WRITTEN.search(words):
            return None
        found = [name for name in self.public if f".{name}".endswith(f".{words}")]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Mention:
    """A name of the library, and where it is written: line, first and last column."""

    name: str
    line: int = 0
    start: int = 0
    end: int = 0


class Reader(ast.NodeVisitor):
    """Collects names that are imported or used, but for those that are bound anew."""

    def __init__(self, code: str, find: Find) -> None:
        self.lines = code.split("\n")
        self.find = find
        self.imported: dict[str, str] = {}
        self.stored: set[str] = set()
        self.local: list[set[str]] = []
        self.mentions: list[Mention] = []
        self.visit(ast.parse(code))

    def note(self, name: str | None, line: int, words: str, at: int) -> None:
        """A mention, if the name is one; columns are bytes to Python."""
        if name is not None:
            text = self.lines[line - 1].encode()[:at].decode()
            self.mentions.append(Mention(name, line, len(text), len(text) + len(words)))

    def visit_Name(self, node: ast.Name) -> None:
        """A name that is bound is not one of the library from here on."""
        if isinstance(node.ctx, ast.Load):
            if not any(node.id in names for names in self.local):
                self.note(self.find(node.id), node.lineno, node.id, node.col_offset)
        elif not self.local:
            self.stored.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`module.name`: what is named is the last word."""
        words = dotted(node)
        if words and not any(words.split(".")[0] in names for names in self.local):
            at = (node.end_col_offset or 0) - len(node.attr.encode())
            self.note(self.find(words), node.end_lineno or 0, node.attr, at)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """The modules of `import module`."""
        for alias in node.names:
            name = self.find(alias.name) if alias.name.startswith(PACKAGE) else None
            self.note(name, alias.lineno, alias.name, alias.col_offset)
            if name is not None and alias.asname:
                self.imported[alias.asname] = name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Module and names of `from module import names`."""
        module = node.module or ""
        at = self.lines[node.lineno - 1].find(module, node.col_offset + len("from "))
        if module != PACKAGE:
            self.note(self.find(module), node.lineno, module, at)
        for alias in node.names:
            name = self.find(f"{module}.{alias.name}")
            self.note(name, alias.lineno, alias.name, alias.col_offset)
            if name is not None:
                self.imported[alias.asname or alias.name] = name

    def generic_visit(self, node: ast.AST) -> None:
        """What a function binds is its own."""
        if isinstance(node, LOCAL):
            inside = [n for n in ast.walk(node) if n is not node]
            own = {n.arg for n in inside if isinstance(n, ast.arg)}
            own |= {
                n.id
                for n in inside
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            self.local.append(own)
            super().generic_visit(node)
            self.local.pop()
        else:
            super().generic_visit(node)


def dotted(node: ast.AST) -> str | None:
    """A name, or a name and its attributes, as it is written."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return None


@dataclass(frozen=True)
class Chapter:
    """What names mean in one chapter, after all of its imports."""

    library: Library
    bound: dict[str, str]

    @classmethod
    def of(cls, library: Library, cells: Iterable[str]) -> "Chapter":
        """Read the imports; a name that is bound in another way too means nothing."""
        bound, stored = {}, set()
        for cell in cells:
            reader = Reader(cell, library.find)
            bound |= reader.imported
            stored |= reader.stored
        return cls(library, {k: v for k, v in bound.items() if k not in stored})

    def find(self, words: str) -> str | None:
        """What a name means in a cell."""
        first, _, rest = words.partition(".")
        if first == PACKAGE:
            return self.library.find(words)
        taken = self.bound.get(first)
        return self.library.find(f"{taken}.{rest}") if taken and rest else taken

    def cell(self, code: str) -> list[Mention]:
        """What a cell names."""
        return Reader(code, self.find).mentions

    def printed(self, cell: str, code: str) -> list[Mention]:
        """What a source names that a cell has printed."""
        things = [
            one.name for one in self.cell(cell) if one.name in self.library.public
        ]
        things = [name for name in things if not name.startswith(f"{PACKAGE}.notebook")]
        module = things[-1].rpartition(".")[0] if things else None
        return Reader(code, self.library.within(module)).mentions if module else []

    def text(self, words: str) -> str | None:
        """What a line of code within the text names; of an attribute, its class."""
        words = words.removesuffix("()")
        if not CODE.fullmatch(words):
            return None
        while words:
            found = self.find(words) or self.library.alone(words)
            if found:
                return found
            words = words.rpartition(".")[0]
        return None


def cells(notebook: dict[str, Any], kind: str) -> list[tuple[str, list[dict]]]:
    """Source and outputs of a notebook's cells of one kind."""
    found = (c for c in notebook["cells"] if c["cell_type"] == kind)
    return [("".join(c["source"]), c.get("outputs", [])) for c in found]


def shown(library: Library, notebook: dict[str, Any]) -> set[str]:
    """All names of the library that a notebook shows, as it lies in its file."""
    code = cells(notebook, "code")
    chapter = Chapter.of(library, (source for source, _ in code))
    found = {one.name for source, _ in code for one in chapter.cell(source)}
    for source, outputs in code:
        for output in outputs:
            words = "".join(output.get("data", {}).get("text/markdown", ""))
            for block in re.findall(r"^```python\n(.*?)^```", words, re.M | re.S):
                found |= {one.name for one in chapter.printed(source, block)}
    for source, _ in cells(notebook, "markdown"):
        found |= set(map(chapter.text, re.findall(r"(?<!`)`([^`\n]+)`(?!`)", source)))
    return {name for name in found if name is not None}


def first(mentions: Iterable[Mention]) -> list[Mention]:
    """The first mention of each name."""
    found: dict[str, Mention] = {}
    for one in mentions:
        found.setdefault(one.name, one)
    return list(found.values())
