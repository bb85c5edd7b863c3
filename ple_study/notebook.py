"""What a chapter needs of Jupyter: figures that compare, and the library's source."""

import inspect
import textwrap
import warnings
from collections.abc import Callable

import pandas as pd
from IPython.display import Markdown
from matplotlib_inline.backend_inline import set_matplotlib_formats

from ple_study import plots

with warnings.catch_warnings():
    # Lightning imports it too; without ipywidgets it then warns on the page.
    warnings.simplefilter("ignore")
    import tqdm.auto  # type: ignore[import-untyped]  # noqa: F401


def setup() -> None:
    """Whole tables; figures as dateless SVG, the same bytes each time."""
    plots.style()
    pd.set_option("display.max_colwidth", None)
    set_matplotlib_formats("svg", metadata={"Date": None})  # type: ignore[no-untyped-call]


def source(thing: type | Callable[..., object]) -> Markdown:
    """The code of a class or function as it stands in the library."""
    code = textwrap.dedent(inspect.getsource(thing)).rstrip()
    return Markdown(f"```python\n{code}\n```")  # type: ignore[no-untyped-call]
