"""What a committed notebook must look like, checked without running it.

Each rule takes a notebook and yields complaints. Most of them close a door through
which nbval, or a reader, would be told that all is well when it is not.
"""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

TAGS = frozenset(
    "hide-input hide-output hide-cell remove-input remove-output remove-cell "
    "scroll-output full-width margin raises-exception nbval-ignore-output".split()
)
NEEDS_DATA = "needs-data:"
MACHINE = re.compile(
    r"/(home|root|tmp|work|Users|usr|opt)/|site-packages| at 0x[0-9a-f]"
)
FORBIDDEN = {
    "a shell command or a magic": re.compile(r"^\s*[!%]", re.MULTILINE),
    "an nbval marker (use a tag)": re.compile(r"#\s*(NBVAL|PYTEST_VALIDATE)_"),
    "clear_output": re.compile(r"clear_output|tqdm\.notebook"),
    "a trailing semicolon": re.compile(r";\s*\Z"),
}
CAPS = {"atol": 0.05, "px": 12}
SHORTEST_ALT = 20


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """List the cells that nbval runs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """Read a cell's tags."""
    return cell.metadata.get("tags", [])


def shown(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    """List (kind, text) of everything under a cell."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", "\n".join(output.traceback)
        else:
            yield from output.data.items()


def run_in_order(notebook: NotebookNode) -> Iterator[str]:
    """The stored outputs come from one clean run, top to bottom."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}; run `make refresh`"


def metadata(notebook: NotebookNode) -> Iterator[str]:
    """Nothing is stored that changes with the machine or the day."""
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3" or set(notebook.metadata) != {"kernelspec"}:
        yield "notebook metadata is not a python3 kernelspec alone; run `make refresh`"
    for number, cell in enumerate(notebook.cells):
        if "execution" in cell.metadata:
            yield f"cell {number} stores its timing; run `make refresh`"


def known_tags(notebook: NotebookNode) -> Iterator[str]:
    """A tag that nobody reads, or that skips a cell, hides a mistake."""
    for number, cell in enumerate(notebook.cells):
        named = {tag for tag in tags(cell) if not tag.startswith(NEEDS_DATA)}
        if unknown := named - TAGS:
            yield f"cell {number} has tags {sorted(unknown)}"


def plain_code(notebook: NotebookNode) -> Iterator[str]:
    """Code that nbval and the built page treat alike."""
    for cell in code_cells(notebook):
        for name, pattern in FORBIDDEN.items():
            if pattern.search(cell.source):
                yield f"{name} in {cell.source[:60]!r}"


def honest_errors(notebook: NotebookNode) -> Iterator[str]:
    """An error is shown exactly where one is announced, and warnings never."""
    for cell in code_cells(notebook):
        kinds = [kind for kind, _ in shown(cell)]
        if ("error" in kinds) != ("raises-exception" in tags(cell)):
            yield f"error and tag raises-exception disagree in {cell.source[:60]!r}"
        if "stderr" in kinds:
            yield f"a warning is printed by {cell.source[:60]!r}"


def no_machine(notebook: NotebookNode) -> Iterator[str]:
    """No path, address or traceback of the machine that ran the notebook."""
    for cell in code_cells(notebook):
        for kind, text in shown(cell):
            text = text if isinstance(text, str) else str(text)
            drawn = kind.startswith("image/")
            if not drawn and (MACHINE.search(text) or "Traceback (most" in text):
                yield f"a path, address or traceback is shown by {cell.source[:60]!r}"


def described_figures(notebook: NotebookNode) -> Iterator[str]:
    """A figure says in words what it shows, for those who cannot see it."""
    for cell in code_cells(notebook):
        images = [kind for kind, _ in shown(cell) if kind.startswith("image/")]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if len(images) > 1:
            yield f"more than one figure under {cell.source[:60]!r}"
        if images and len(alt) < SHORTEST_ALT:
            yield f"no mystnb.image.alt for the figure of {cell.source[:60]!r}"


def ignored_outputs(notebook: NotebookNode) -> Iterator[str]:
    """Output that is not compared is explained, and asserted in the next cell."""
    cells = code_cells(notebook)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if "nbval-ignore-output" not in tags(cell):
            continue
        if "# not compared:" not in cell.source:
            yield f"no comment `# not compared: <why>` in {cell.source[:60]!r}"
        if following is None or "assert" not in following.source:
            yield f"the cell after {cell.source[:60]!r} asserts nothing"


def bounded_tolerance(notebook: NotebookNode) -> Iterator[str]:
    """A cell may widen its own tolerance, up to a cap and with a reason."""
    for cell in code_cells(notebook):
        own = dict(cell.metadata.get("tolerance", {}))
        if own and not str(own.pop("why", "")).strip():
            yield f"tolerance without a why in {cell.source[:60]!r}"
        for name, value in own.items():
            if name not in CAPS or not 0 <= value <= CAPS[name]:
                yield f"tolerance {name}={value} is above {CAPS} or unknown"


RULES = (
    run_in_order,
    metadata,
    known_tags,
    plain_code,
    honest_errors,
    no_machine,
    described_figures,
    ignored_outputs,
    bounded_tolerance,
)


def complaints(notebook: NotebookNode) -> list[str]:
    """Apply every rule."""
    return [complaint for rule in RULES for complaint in rule(notebook)]
