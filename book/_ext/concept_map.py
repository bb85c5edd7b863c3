"""The directive `concept-map`: the drawn map of the book, its boxes being links.

What is drawn lies in `_static/map.svg` beside the page; `book/_tools/map.py` draws it.
It is put into the page, not beside it, so that keys and screen readers reach its links.
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LINK = re.compile(r'<a class="([^"]*)" href="\.\./([^"]*)\.html"(.*?)</a>')
WORDS = re.compile(r">([^<]+)</text>")


class Map(nodes.Element):
    """The place of the map, until the titles of all pages are known."""


class ConceptMap(SphinxDirective):
    """The map; the page is built again when it is drawn anew."""

    def run(self) -> list[nodes.Node]:
        """Answer its place."""
        path = Path(self.env.doc2path(self.env.docname)).parent / "_static" / "map.svg"
        if not path.is_file():
            raise self.error("A map is drawn by book/_tools/map.py. Found none.")
        self.env.note_dependency(str(path))
        return [Map(drawn=path.read_text(encoding="utf-8"))]


def linked(app: Sphinx, page: str, drawn: str) -> str:
    """The drawing with links from this page, each named by its words and its title.

    A page that is not yet part of the book keeps its box and has no link.
    """

    def link(found: re.Match[str]) -> str:
        kind, target, rest = found.groups()
        if target not in app.env.titles:
            return f'<g class="{kind} ahead"{rest}</g>'
        address = app.builder.get_relative_uri(page, target)
        (words,) = WORDS.findall(rest)
        name = escape(f"{words}: {app.env.titles[target].astext()}")
        return f'<a class="{kind}" href="{address}" aria-label="{name}"{rest}</a>'

    return LINK.sub(link, drawn)


def place(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Put the map where it was asked for; other formats go without."""
    for node in list(tree.findall(Map)):
        drawn = linked(app, page, node["drawn"]) if app.builder.format == "html" else ""
        start = '<nav class="concept-map" aria-label="Map of the chapters">'
        node.replace_self(nodes.raw("", f"{start}{drawn}</nav>", format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_node(Map)
    app.add_directive("concept-map", ConceptMap)
    app.connect("doctree-resolved", place)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
