"""Finish the written pages: they work from a folder, offline, and for everybody."""

import re
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree

from sphinx.application import Sphinx

# MathJax 3 for TeX on screen: the component, what it loads on demand, its fonts.
MATHJAX = ["tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2"]

MENDS = [
    # Over file:// a browser refuses to preload a font and says so in the console.
    # The style sheet loads the same font anyway, so the hint can go.
    (re.compile(r'\s*<link rel="preload" as="font"[^>]*>'), ""),
    # docutils puts entries of a deprecated role into the list of references.
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
    # Every exercise of a page, and every solution, is given the same id.
    (re.compile(r' id="(exercise|solution|proof)-content"'), ""),
]


def copy_mathjax(static: Path) -> None:
    """Copy what the book needs of MathJax, a third of the whole package."""
    with as_file(files("sphinx-mathjax-offline") / "static" / "mathjax") as source:
        for name in MATHJAX:
            target = static / "mathjax" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                copytree(source / name, target, dirs_exist_ok=True)
            else:
                target.write_bytes((source / name).read_bytes())


def mend(page: Path) -> None:
    """Put right what the theme and docutils wrote into one page."""
    text = page.read_text(encoding="utf-8")
    for fault, remedy in MENDS:
        text = fault.sub(remedy, text)
    page.write_text(text, encoding="utf-8")


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Run once the pages are written."""
    if exception is None and app.builder.format == "html":
        copy_mathjax(Path(app.outdir) / "_static")
        for page in Path(app.outdir).rglob("*.html"):
            mend(page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
