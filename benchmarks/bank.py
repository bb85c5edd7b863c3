"""Time and memory of the synthetic bank against its number of customers.

``python -m benchmarks.bank`` writes banks of three sizes to disk, each in a process of
its own, and prints wall time, the largest memory that the process and its workers held
together, and the size on disk. What is learnt once for a bank of any size (hidden
states, clusters, units) is timed by itself; the rest should grow with the customers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from ple_study.data.world import Bank
from ple_study.data.world.shards import write

EVERY = 0.2  # seconds between two looks at memory
REPORT = "report.json"


def build(customers: int, workers: int, folder: Path) -> None:
    """Write a bank and say beside it how long its fit and the rest took."""
    begin = time.perf_counter()
    bank = Bank(customers)
    _ = bank.fitted
    fitted = time.perf_counter()
    write(bank, folder / "bank", workers)
    found = {"fit_s": fitted - begin, "write_s": time.perf_counter() - fitted}
    (folder / REPORT).write_text(json.dumps(found))


def measure(customers: int, workers: int) -> dict[str, float]:
    """One bank: seconds, GiB of memory and of disk."""
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, "-m", "benchmarks.bank", "--folder", folder]
        again += ["--customers", str(customers), "--workers", str(workers)]
        child, peak = subprocess.Popen(again), 0
        while child.poll() is None:
            peak = max(peak, _held(child.pid))
            time.sleep(EVERY)
        if child.returncode:
            raise RuntimeError(f"The bank of {customers} ended {child.returncode}.")
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*"))
        times = json.loads((Path(folder) / REPORT).read_text())
    gib = {"memory_gib": peak / 2**30, "disk_gib": disk / 2**30}
    return {"customers": customers, **times, **gib}


def _held(pid: int) -> int:
    """Memory of a process and all below it; pages that they share count for each."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        return sum(process.memory_info().rss for process in family)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--customers", type=int, nargs="+", default=[10_000, 30_000, 100_000]
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="only write one bank, to here")
    asked = parser.parse_args()
    if asked.folder:
        build(asked.customers[0], asked.workers, asked.folder)
        return
    rows = []
    for customers in asked.customers:
        rows.append(measure(customers, asked.workers))
        print({key: round(value, 2) for key, value in rows[-1].items()}, flush=True)
    if len(rows) > 1:
        sizes, times = ([row[key] for row in rows] for key in ("customers", "write_s"))
        power = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        print(f"time grows as customers to the power {power:.3f}")
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
