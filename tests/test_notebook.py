"""A chapter shows the code that the library runs."""

import inspect

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from ple_study import notebook
from ple_study.gates.gate import mix


def test_source_is_the_code_of_the_library():
    shown = notebook.source(mix).data
    assert shown.startswith("```python\n")
    assert inspect.getsource(mix).strip() in shown


def test_lightning_says_nothing_on_a_page():
    cell = new_code_cell("from ple_study import notebook\nimport lightning")
    NotebookClient(new_notebook(cells=[cell]), kernel_name="python3").execute()
    assert cell.outputs == []
