"""What a chapter needs of Jupyter: figures that compare, and the library's source."""

import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Markdown
from matplotlib_inline.backend_inline import set_matplotlib_formats

from ple_study import plots


def setup() -> None:
    """Figures as dateless SVG in the book's style, the same bytes each time."""
    plots.style()
    set_matplotlib_formats("svg", metadata={"Date": None})  # type: ignore[no-untyped-call]


def source(thing: type | Callable[..., object]) -> Markdown:
    """The code of a class or function as it stands in the library."""
    code = textwrap.dedent(inspect.getsource(thing)).rstrip()
    return Markdown(f"```python\n{code}\n```")  # type: ignore[no-untyped-call]
