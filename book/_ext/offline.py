"""Make every page of the built book work from a folder, without a network."""

from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree

from sphinx.application import Sphinx

# MathJax 3 for TeX on screen: the component, what it loads on demand, its fonts.
MATHJAX = ["tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2"]

# Over file:// a browser refuses to preload a font across origins and says so in the
# console. The style sheet loads the same font anyway, so the hint can go.
FONT_PRELOAD = '<link rel="preload" as="font"'


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


def drop_font_preloads(page: Path) -> None:
    """Remove the theme's font preloads from one page, if it still has them."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.lstrip().startswith(FONT_PRELOAD)]
    if len(kept) < len(lines):
        page.write_text("".join(kept), encoding="utf-8")


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Run once the pages are written."""
    if exception is None and app.builder.format == "html":
        copy_mathjax(Path(app.outdir) / "_static")
        for page in Path(app.outdir).rglob("*.html"):
            drop_font_preloads(page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
