"""The directive `dial`: a figure that the reader turns.

What it draws from lies in `dials/<kind>.json` beside the page, how in
`_static/dials/<kind>.js`. Where no script runs, and in other formats, there are words.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ple_study.plots import COLOURS

NEEDS = "This figure is turned by hand and needs JavaScript. As it stands at first:"


def slider(figure: str, spec: dict[str, Any]) -> str:
    """A native slider under its name, with room for its number."""
    name = f"{figure}-{spec['name']}"
    ends = f'min="{spec["low"]}" max="{spec["high"]}" step="{spec["step"]}"'
    kinds = "".join(f" data-{kind}" for kind in ("log", "whole") if spec[kind])
    return (
        f'<label for="{name}">{escape(spec["label"])}</label><span></span>'
        f'<input type="range" id="{name}" name="{spec["name"]}" {ends} '
        f'value="{spec["start"]}" autocomplete="off"{kinds}>'
    )


def body(figure: str, kind: str, spec: dict[str, Any], alt: str) -> str:
    """What the script fills, hidden until it does, and the words instead of it."""
    colours = ";".join(f"--dial-{k}:{colour}" for k, colour in enumerate(COLOURS))
    inputs = escape(json.dumps(spec["inputs"], separators=(",", ":")))
    sliders = "".join(slider(figure, one) for one in spec["sliders"])
    names = " ".join(f"{figure}-{one['name']}" for one in spec["sliders"])
    return (
        f'<div class="dial-body" data-dial="{kind}" data-inputs="{inputs}" '
        f'style="{colours}" hidden><svg role="img" aria-label="{escape(alt)}"></svg>'
        f'<div class="dial-sliders">{sliders}</div><div class="dial-words">'
        f'<output for="{names}" aria-live="polite"></output>'
        '<button type="button">Reset</button></div></div>'
        f"<noscript><p>{NEEDS} {escape(alt)}</p></noscript>"
    )


class Dial(SphinxDirective):
    """The dial whose kind is the argument; the content is its caption."""

    required_arguments = 1
    has_content = True
    option_spec = dict.fromkeys(("name", "alt"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        """Answer a figure; the page is built again when what it draws from changes."""
        kind, alt = self.arguments[0], self.options.get("alt")
        path = Path(self.env.doc2path(self.env.docname)).parent / "dials"
        path /= f"{kind}.json"
        if not path.is_file():
            raise self.error(f"A dial is drawn from {path.name}. Found no such file.")
        if not alt or "name" not in self.options:
            raise self.error(f"A dial needs name and alt. Found {[*self.options]}.")
        self.env.note_dependency(str(path))
        spec = json.loads(path.read_text(encoding="utf-8"))
        name = nodes.make_id(self.options["name"])
        drawn = nodes.raw("", body(name, kind, spec, alt), format="html")
        figure = nodes.figure("", drawn, self.caption(), classes=["dial"], dial=kind)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]

    def caption(self) -> nodes.caption:
        """The content, one paragraph."""
        content = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, content)
        if len(content) != 1 or not isinstance(content[0], nodes.paragraph):
            raise self.error("The caption of a dial is one paragraph.")
        return nodes.caption(content[0].rawsource, "", *content[0].children)


def load(app: Sphinx, _page: str, _name: str, _shown: dict, tree: nodes.Node) -> None:
    """Load scripts only where there is a dial for them, and those of no other."""
    figures = tree.findall(nodes.figure) if tree else ()
    kinds = dict.fromkeys(figure["dial"] for figure in figures if "dial" in figure)
    if kinds:
        app.add_css_file("dials/dial.css")
    for name in ("dial", *kinds) if kinds else ():
        app.add_js_file(f"dials/{name}.js", defer="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("dial", Dial)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
