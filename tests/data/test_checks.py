"""The checks are tried in the tests of the loader; here, that a study runs them all."""

import inspect

from ple_study.data import checks
from ple_study.data.loader import Study


def test_a_study_runs_every_check() -> None:
    made = inspect.getsource(Study.__post_init__)
    names = [name for name in vars(checks) if name.startswith("check_")]
    assert len(names) == 7
    assert all(name in made for name in names)
