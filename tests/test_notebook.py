"""A chapter shows the code that the library runs."""

import inspect

from ple_study import notebook
from ple_study.gates.cgc import mix


def test_source_is_the_code_of_the_library():
    shown = notebook.source(mix).data
    assert shown.startswith("```python\n")
    assert inspect.getsource(mix).strip() in shown
