"""The ledger: claims defined before they are measured, and what was found.

A folder holds ``definitions.toml``, written by hand before any run, and ``results/``,
one file a claim, written by the chapter that measures it. No verdict is ever passed in:
it follows from the numbers and the bar, and is worked out again whenever it is read.

``PLE_STUDY_CLAIMS`` names another folder for what is recorded: a check that runs the
chapters again must not change what the ledger says.
"""

import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path

import pandas as pd

from ple_study.bars import ONLY, Claim
from ple_study.names import check_kinds, toml_of
from ple_study.verdicts import Finding, Values, as_json, judge, restore


class Ledger:
    """The claims of a folder: ``record`` what was measured, then read all verdicts.

    Raises ValueError when there is no such file, and when a definition is malformed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.results = self.folder / "results"
        path = self.folder / "definitions.toml"
        tables = toml_of(path)
        if "claims" not in tables:
            raise ValueError(f"{path} must have [claims]. Found {list(tables)}.")
        check_kinds("claims", tables["claims"], {})
        self.claims = {
            k: Claim.from_toml(k, table) for k, table in tables["claims"].items()
        }

    def record(
        self,
        name: str,
        values: Values | Mapping[str, Values],
        given: Mapping[str, Values] | None = None,
    ) -> Finding:
        """Judge one number a seed (by case, where the claim has cases) and store it.

        Raises ValueError for a claim without a definition, cases or conditions other
        than those defined, another number of seeds than promised, a value that is not
        finite, a condition that fails, and an argument that the numbers contradict.
        """
        if name not in self.claims:
            raise ValueError(
                f"A claim is defined before it is measured. Found no claim {name!r} in "
                f"{list(self.claims)}."
            )
        cases = values if isinstance(values, Mapping) else {ONLY: values}
        finding = judge(self.claims[name], cases, given or {})
        path = Path(os.environ.get("PLE_STUDY_CLAIMS", self.results)) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(
            json.dumps(as_json(finding), indent=1) + "\n", encoding="utf-8"
        )
        draft.replace(path)
        return finding

    def findings(self) -> dict[str, Finding]:
        """What has been measured so far, in the order of the definitions.

        Raises ValueError when a definition was changed after its claim was measured,
        and when a result is not what its own numbers say.
        """
        paths = {name: self.results / f"{name}.json" for name in self.claims}
        return {
            name: restore(self.claims[name], path.read_text(encoding="utf-8"))
            for name, path in paths.items()
            if path.exists()
        }

    def table(self) -> pd.DataFrame:
        """One row a claim, in words."""
        found = self.findings()
        rows = (_row(claim, found.get(name)) for name, claim in self.claims.items())
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.findings().values()))

    def _repr_html_(self) -> str:
        return _html(self.table())


def _row(claim: Claim, found: Finding | None) -> dict[str, str]:
    return {
        "claim": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "bar": claim.bar.words,
        "measured": found.measured if found else "",
        "seeds": str(claim.bar.seeds),
        "verdict": found.conclusion if found else "to come",
        "chapter": claim.chapter,
    }


def _html(table: pd.DataFrame) -> str:
    """The table as the page shows it; chapters label the cell that measured a claim."""
    head = "".join(f'<th scope="col">{name}</th>' for name in table)
    body = ""
    for row in table.to_dict("records"):
        cells = {name: escape(text) for name, text in row.items()}
        page = f"{cells['chapter']}.html#claim-{cells['claim']}"
        cells["chapter"] = f'<a href="{page}">{cells["chapter"]}</a>'
        body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells.values())}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
