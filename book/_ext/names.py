"""Names of the library and the chapters that show them, linked both ways.

In a chapter a name of the library leads to its entry in the reference: the first time
in a cell, in a printed source, in the text of a section. There, every entry lists the
chapters that show it. Names are noted in a page that is read, and linked in one that is
written.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

from docutils import nodes
from mentions import Chapter, Library, Mention, cells, first
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

read_once = cache(Library.read)


def hidden(node: nodes.Node) -> bool:
    """Whether a reader must open something before seeing this."""
    while node is not None:
        classes = node.get("classes", []) if isinstance(node, nodes.Element) else []
        if {"tag_hide-input", "tag_hide-cell", "dropdown"} & set(classes):
            return True
        node = node.parent
    return False


def blocks(tree: nodes.document, chapter: Chapter) -> Iterator[nodes.literal_block]:
    """Blocks of code that name something, each with its mentions."""
    for cell in tree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        code = ""
        for block in cell.findall(nodes.literal_block):
            if within(block, "cell_code_source"):
                code = block.astext()
                block["mentions"] = first(chapter.cell(code))
                yield block
            elif block.get("language") == "python":
                block["mentions"] = first(chapter.printed(code, block.astext()))
                yield block


def within(node: nodes.Node, element: str) -> bool:
    """Whether a node lies in a part of a cell."""
    while node is not None:
        if isinstance(node, nodes.container) and node.get("nb_element") == element:
            return True
        node = node.parent
    return False


def words(tree: nodes.document, chapter: Chapter) -> Iterator[nodes.literal]:
    """Lines of code within the text that name something, once a section."""
    seen: set[tuple[nodes.Node | None, str]] = set()
    for literal in tree.findall(nodes.literal):
        above, section = literal.parent, None
        while above is not None and section is None:
            if isinstance(above, nodes.reference | nodes.title | addnodes.pending_xref):
                break
            section = above if isinstance(above, nodes.section) else None
            above = above.parent
        name = chapter.text(literal.astext()) if section is not None else None
        if name is not None and (section, name) not in seen:
            seen.add((section, name))
            literal["mentions"] = [Mention(name)]
            yield literal


def note(app: Sphinx, tree: nodes.document) -> None:
    """Note what a chapter names, and where each name is best looked at."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    sources = [source for source, _ in cells(notebook, "code")]
    chapter = Chapter.of(read_once(Path(app.srcdir)), sources)
    marked = [*blocks(tree, chapter), *words(tree, chapter)]
    best: dict[str, nodes.Element] = {}
    for node in sorted(marked, key=hidden):
        for mention in node["mentions"]:
            if best.setdefault(mention.name, node) is node:
                node.setdefault("best", []).append(mention.name)
    noted(app.env)[app.env.docname] = sorted(best)


def noted(env: BuildEnvironment) -> dict[str, list[str]]:
    """The names of every chapter, kept with what Sphinx keeps of a build."""
    if not hasattr(env, "names_shown"):
        env.names_shown = {}
    return env.names_shown


def forget(_: Sphinx, env: BuildEnvironment, page: str) -> None:
    """Forget a page that is read again, or gone."""
    noted(env).pop(page, None)


def anchor(name: str) -> str:
    """The place in a chapter where a name is best looked at."""
    return f"shown-{name}"


def address(app: Sphinx, page: str, name: str) -> str | None:
    """Where the reference has a name, from a page; None if it leaves it out."""
    found = app.env.get_domain("py").objects.get(name)
    if found is None:
        return None
    return f"{app.builder.get_relative_uri(page, found.docname)}#{found.node_id}"


def link(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link names to the reference, and the reference to the chapters."""
    if app.builder.format != "html":
        return
    for node in [n for n in tree.findall(nodes.Element) if "mentions" in n]:
        best, spots = node.get("best", []), {}
        for one in node["mentions"]:
            target = address(app, page, one.name)
            if target is not None and isinstance(node, nodes.literal):
                reference = nodes.reference("", "", refuri=target, internal=True)
                reference["reftitle"] = one.name
                reference["ids"] = [anchor(one.name)] if one.name in best else []
                node.replace_self(reference)
                reference += node
            elif target is not None:
                place = f' id="{anchor(one.name)}"' if one.name in best else ""
                tag = f'<a class="name"{place} href="{target}" title="{one.name}">'
                spots[one.line, one.start] = (one.end - one.start, tag)
        node["spots"] = spots
    for described in list(tree.findall(addnodes.desc)):
        if described["domain"] == "py":
            add_chapters(app, described, page)


def add_chapters(app: Sphinx, described: addnodes.desc, page: str) -> None:
    """End an entry of the reference with the chapters that show it."""
    names = [
        name
        for one in described.findall(addnodes.desc_signature)
        for name in one["ids"]
        if one.parent is described
    ]
    paragraph = nodes.paragraph("", "Shown in ", classes=["shown-in"])
    for chapter, shows in sorted(noted(app.env).items(), key=order(app)):
        for name in (name for name in names if name in shows):
            title = app.env.titles[chapter].astext()
            uri = f"{app.builder.get_relative_uri(page, chapter)}#{anchor(name)}"
            if len(paragraph) > 1:
                paragraph += nodes.Text(", ")
            paragraph += nodes.reference("", title, refuri=uri, internal=True)
    if len(paragraph) > 1:
        described.children[-1].append(paragraph)


def order(app: Sphinx) -> Callable[[tuple[str, list[str]]], int]:
    """Chapters in the order of the book."""
    pages = list(app.env.toctree_includes.values())
    listed = [page for group in pages for page in group]
    return lambda item: listed.index(item[0]) if item[0] in listed else len(listed)


def inserted(html: str, spots: dict[tuple[int, int], tuple[int, str]]) -> str:
    """Highlighted code with links put around its names."""
    parts, line, column, begun = [], 1, 0, False
    for piece in re.split(r"(<[^>]*>)", html):
        if piece.startswith("<") or not begun:
            begun = begun or piece == "<pre>"
            parts.append(piece)
            continue
        text = unescape(piece)
        length, tag = spots.get((line, column), (-1, ""))
        parts.append(f"{tag}{piece}</a>" if length == len(text) else piece)
        line, column = (
            line + text.count("\n"),
            len((" " * column + text).split("\n")[-1]),
        )
    return "".join(parts)


def visit(writer: Any, node: nodes.literal_block) -> None:
    """Write a block of code as ever, then put in its links."""
    try:
        type(writer).visit_literal_block(writer, node)
    except nodes.SkipNode:
        if node.get("spots"):
            writer.body[-1] = inserted(writer.body[-1], node["spots"])
        raise


def depart(writer: Any, node: nodes.literal_block) -> None:
    """End a block of code as ever."""
    type(writer).depart_literal_block(writer, node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_node(nodes.literal_block, override=True, html=(visit, depart))
    app.connect("doctree-read", note)
    app.connect("env-purge-doc", forget)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
