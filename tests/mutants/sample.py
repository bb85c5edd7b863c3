"""Which mutants are tried: one a place and kind of change, a seeded sample of all.

The changes are those of cosmic-ray's operators. Left out, since no test should tell:
annotations and aliases of types; what an error says, all of a ``raise`` or ``assert``;
``strict`` of ``zip``, ``kw_only`` and a lone ``*``; what Python refuses or warns of.
Its two operators that put one variable in another's place differ by the run, and are
left out too.
"""

import random
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import parso
from cosmic_ray.operators.provider import OperatorProvider
from parso.tree import BaseNode, NodeOrLeaf

CHECKS = ("strict", "kw_only")
PACKAGES = ("experts", "gates", "objective", "tasks")

OPERATORS = {
    name: OperatorProvider()[name]()
    for name in sorted(OperatorProvider())
    if not name.startswith("Variable") and not re.search("Operator_[A-Z].*_Is", name)
}
Place = tuple[str, int, list[tuple[str, int]]]


@dataclass(frozen=True)
class Mutant:
    """A file and what is changed there: the line before and after."""

    file: str
    line: int
    operator: str
    place: int  # of the node that the operator changes, in the tree's order
    which: int  # of the operator's changes there
    before: str
    after: str

    @property
    def name(self) -> str:
        return f"{self.file}: {self.before} -> {self.after}"

    def code(self, root: Path) -> str:
        """The file's text with the change."""
        text = (root / self.file).read_text(encoding="utf-8")
        return changed(text, self.operator, self.place, self.which)


def changed(text: str, operator: str, place: int, which: int) -> str:
    tree = parso.parse(text)
    node = nodes(tree)[place]
    parent = node.parent
    new = OPERATORS[operator].mutate(node, which)
    if parent is not None:
        at = next(i for i, child in enumerate(parent.children) if child is node)
        parent.children[at : at + 1] = [] if new is None else [new]
    return str(tree.get_code())


def nodes(tree: NodeOrLeaf) -> list[NodeOrLeaf]:
    found = [tree]
    if isinstance(tree, BaseNode):
        for child in tree.children:
            found += nodes(child)
    return found


def places(root: Path, file: str) -> Iterator[Place]:
    """Where operators may change a file, and the kinds of change there."""
    text = (root / file).read_text(encoding="utf-8")
    for at, node in enumerate(nodes(parso.parse(text))):
        found: dict[str, list[tuple[str, int]]] = {}
        for name, operator in OPERATORS.items():
            for which, _ in enumerate(operator.mutation_positions(node)):
                found.setdefault(name.partition("_")[0], []).append((name, which))
        if found and not beside_the_point(node):
            for changes in found.values():
                yield file, at, changes


def drawn(root: Path, place: Place, draw: random.Random) -> Mutant | None:
    """One of the mutants at a place; None where none is Python."""
    file, at, changes = place
    text = (root / file).read_text(encoding="utf-8")
    before = text.splitlines()
    for operator, which in draw.sample(changes, len(changes)):
        code = changed(text, operator, at, which)
        after = code.splitlines()
        line = next(
            (
                i
                for i, two in enumerate(zip(before, after, strict=False))
                if len({*two}) > 1
            ),
            0,
        )
        if compiles(code):
            whole = len(after) == len(before)
            told = after[line].strip() if whole else "(left out)"
            own = before[line].strip()
            return Mutant(file, line + 1, operator, at, which, own, told)
    return None


def beside_the_point(node: NodeOrLeaf) -> bool:
    """Whether a node is part of a type, or of what an error says."""
    inner, outer = node, node.parent
    while outer is not None:
        if outer.type in ("raise_stmt", "assert_stmt"):
            return True
        if outer.type == "parameters" and inner is node:  # ``*`` alone
            return True
        if outer.type == "annassign" and inner is outer.children[1]:
            return True
        if outer.type == "param" and inner is getattr(outer, "annotation", None):
            return True
        if outer.type == "tfpdef" and inner is not outer.children[0]:
            return True
        if outer.type == "funcdef" and inner is outer.annotation:
            return True
        if outer.type == "argument" and outer.children[0].get_code().strip() in CHECKS:
            return True
        if outer.type == "file_input" and _alias(inner):
            return True
        inner, outer = outer, outer.parent
    return False


def _alias(statement: NodeOrLeaf) -> bool:
    """``Value = str | int``, or ``Lanes = Sequence[Float[Tensor, "batch _"]]``."""
    text = statement.get_code().strip()
    return re.match(r"[A-Z][A-Za-z]*[a-z]\w* = [A-Za-z]+(\[| \|)", text) is not None


def compiles(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as "is" with a literal
            compile(code, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def sample(root: Path, count: int, seed: int) -> list[Mutant]:
    """So many places, drawn at random, and at each one of its mutants."""
    files = sorted(
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / "ple_study" / package).rglob("*.py")
    )
    draw = random.Random(seed)
    every = [place for file in files for place in places(root, file)]
    draw.shuffle(every)
    mutants = (drawn(root, place, draw) for place in every)
    return list(islice((m for m in mutants if m is not None), count))
