"""A file of claims that is none says what is wrong."""

import pytest

from ple_study.claims import Ledger
from tests.test_claims import DEFINITIONS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[claims", "definitions.toml must be a TOML file. Found"),
        ("[claim.3]", r"must have \[claims\]. Found \['claim'\]"),
        ("claims = 3", "claims must be a table. Found 3"),
        ("[claims]\n3 = 4", "Claim 3 must be a table. Found 4"),
        ("[claims.3]\nbar = 4", "Claim 3 needs bar of type Mapping. Found 4"),
        (
            DEFINITIONS.replace("seeds = 4", "seeds = '4'"),
            "Bar needs seeds of type int",
        ),
        (
            DEFINITIONS.replace('"PLE-1"', "1"),
            "Claim needs source of type str. Found 1",
        ),
    ],
)
def test_definitions_of_another_kind_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"must be a TOML file. Found"):
        Ledger(tmp_path)
    (tmp_path / "definitions.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Ledger(tmp_path)
