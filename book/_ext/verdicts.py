"""The directive `verdicts`: how many claims of the ledger have which verdict."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_plus

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ple_study.claims import Ledger

KINDS = (
    "holds",
    "holds when",
    "does not hold",
    "not decided",
    "refuted",
    "to come",
)
PAGE = "book/claims"
TABLE = "all-claims"


def tally(verdicts: Iterable[str]) -> dict[str, int]:
    """Count the verdicts by kind, in the order of the ledger's own explanation.

    What a claim holds when is no part of its kind. Raises ValueError for a verdict of
    another kind.
    """
    counts = dict.fromkeys(KINDS, 0)
    for verdict in verdicts:
        kind, when, _ = verdict.partition(" when ")
        kind += when.rstrip()
        if kind not in counts:
            raise ValueError(f"A verdict is one of {KINDS}. Found {verdict!r}.")
        counts[kind] += 1
    return counts


def summary(counts: dict[str, int]) -> str:
    """How much of the ledger is measured."""
    total, ahead = sum(counts.values()), counts["to come"]
    if not ahead:
        return f"All {total} claims of the ledger are measured:"
    return (
        f"Of the {total} claims of the ledger {total - ahead} are measured. For the "
        f"other {ahead} the bar is written down and the chapter is to come."
    )


class Verdicts(SphinxDirective):
    """The counts as a list of links, each to its rows of the ledger."""

    def run(self) -> list[nodes.Node]:
        """Answer a sentence and the list; a kind without a claim is left out."""
        folder = Path(self.env.srcdir) / PAGE
        try:
            ledger = Ledger(folder)
            found = ledger.findings()
        except ValueError as error:
            raise self.error(str(error)) from error
        self.env.note_dependency(str(folder / "definitions.toml"))
        for name in found:
            self.env.note_dependency(str(folder / "results" / f"{name}.json"))
        counts = tally(
            found[name].verdict if name in found else "to come"
            for name in ledger.claims
        )
        items = (self.item(kind, count) for kind, count in counts.items() if count)
        words = summary(counts)
        return [
            nodes.paragraph(words, words),
            nodes.bullet_list("", *items, classes=["verdicts"]),
        ]

    def item(self, kind: str, count: int) -> nodes.list_item:
        """One count, linked to the ledger filtered by its kind."""
        page = self.env.app.builder.get_relative_uri(self.env.docname, PAGE)
        link = nodes.reference(
            "", "", refuri=f"{page}?verdict={quote_plus(kind)}#{TABLE}", internal=True
        )
        link += [nodes.strong("", str(count)), nodes.Text(f" {kind}")]
        return nodes.list_item("", nodes.paragraph("", "", link))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("verdicts", Verdicts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
