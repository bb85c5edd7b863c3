"""The whole model out and in again: ``python -m benchmarks.round_trip``.

Of the models that ``benchmarks.whole_model journey --keep`` saved: the largest
difference, over 1,000 test households and every task, between the logits of torch and
those of the file written and read again, and of ONNX Runtime, by size of batch.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from torch import Tensor

from benchmarks.clock import machine
from benchmarks.whole_model import RESULTS, households
from ple_study.batch import Batch
from ple_study.export import load, onnx_inputs, save, to_onnx
from ple_study.fitted import Fitted

ROWS, SIZES = 1000, (1, 7, 1000)


def served(session: onnxruntime.InferenceSession, batch: Batch, size: int) -> Tensor:
    """ONNX Runtime's logits of all rows, ``size`` at a time, tasks side by side."""
    given, found = onnx_inputs(batch), []
    for start in range(0, len(batch), size):
        part = slice(start, start + size)
        asked = {i.name: given[i.name][part].numpy() for i in session.get_inputs()}
        answers = [torch.from_numpy(z) for z in session.run(None, asked)]
        found.append(torch.cat(answers, 1))
    return torch.cat(found)


def together(logits: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(logits.values()), 1)


def differences(fitted: Fitted, batch: Batch) -> dict[str, float]:
    wanted = together(fitted.output(batch).logits)
    with TemporaryDirectory() as folder:
        save(fitted, folder)
        again = together(load(folder).output(batch).logits)
        path = to_onnx(fitted, Path(folder) / "model.onnx", logits=True)
        session = onnxruntime.InferenceSession(path)
        by_size = {size: served(session, batch, size) for size in SIZES}
    found = {"saved and loaded": again}
    found |= {f"onnx, {size} at a time": logits for size, logits in by_size.items()}
    return {k: float((z - wanted).abs().max()) for k, z in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "round_trip.json")
    asked = parser.parse_args()
    batch = households().part("test").batch.rows(torch.arange(ROWS))
    runs = []
    for seed in asked.seeds:
        fitted = load(asked.keep / f"journey_{seed}")
        runs.append({"seed": seed, "difference": differences(fitted, batch)})
        print(runs[-1], flush=True)
    about = {"rows": ROWS, "machine": machine("cpu"), "runs": runs}
    asked.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
