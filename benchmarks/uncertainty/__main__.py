"""How sure is it, and does it know? ``python -m benchmarks.uncertainty uci``.

``uci``: deep evidential regression on seven small sets beside dropout and an ensemble
of Gaussian networks. ``digits``: Dirichlet heads beside a softmax, an ensemble and
dropout, with strangers: digits never shown, and digits turned. ``journey``: the whole
models of the households that ``benchmarks.whole_model --keep`` saved: who should be
handed to a fall-back? There the heads are judged as they are, and after they alone
have learnt for longer.

In ``uci`` and ``digits`` the five seeds, each with a split of its own, train side by
side as lanes of one network. Of ``uci`` the epochs were changed once, from far more to
the paper's forty. ``PUBLISHED`` are the numbers of Amini et al. 2020, table 1. Their
released code reports the best value seen on the test rows while training; keys that
begin with ``best`` are that of ours, the others what we call the result.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock import machine
from benchmarks.uncertainty.digits import digits
from benchmarks.uncertainty.households import DROPPED, journey
from benchmarks.uncertainty.nets import BATCH
from benchmarks.uncertainty.uci import LONG, PUBLISHED, ROUNDS, SETS, uci
from benchmarks.whole_model import RESULTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=("uci", "digits", "journey"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    out = asked.out or RESULTS / f"uncertainty_{asked.world}.json"
    torch.set_num_threads(1)
    about: dict[str, Any] = {"machine": machine("cpu")}
    if asked.world == "uci":
        about |= {"epochs": ROUNDS, "published": PUBLISHED, "sets": {}}
        for name in SETS:
            about["sets"][name] = uci(name)
            print(name, about["sets"][name]["evidential"], flush=True)
            out.write_text(json.dumps(about) + "\n")
        about["long"] = {"epochs": LONG, "boston": uci("boston", LONG, BATCH)}
    elif asked.world == "digits":
        about |= digits()
    else:
        if asked.keep is None:
            parser.error("journey needs --keep, where the whole models are")
        about |= {"dropped": DROPPED, "runs": journey(asked.keep, asked.seeds)}
    out.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
