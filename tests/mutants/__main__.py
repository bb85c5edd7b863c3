"""``make mutants``: is every change to the code noticed by a test?

A process imports what is not ours once. For each mutant it forks, in a copy of the
tree, a process that runs the tests which matter to the file, up to the first that
fails. What is done is kept in a journal, so that a run that was stopped goes on; a file
that was changed since is tried again. Survivors go to ``mutants.json``, where a reason
may be written beside each: it stays there.
"""

import argparse
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.mutants.sample import Mutant, sample
from tests.mutants.tests_of import tests_of

ROOT = Path(__file__).parents[2]
JOURNAL = ROOT / ".venv" / "mutants.jsonl"
RESULTS = ROOT / "benchmarks" / "results" / "mutants.json"
LIMIT, SPARE = 3, 30  # times a run without a change, and seconds: then it hangs
MEMORY = 8 << 30
LEFT_OUT = shutil.ignore_patterns(".*", "_build", "runs", "out", "*.ipynb", "results")
WARM = """beartype geoopt gudhi hypothesis.strategies jaxtyping joblib lightning pandas
lightning.pytorch.callbacks mpmath numpy pyarrow.compute pyarrow.parquet pytest
safetensors.torch scipy.optimize scipy.special scipy.stats sklearn.cluster torch._dynamo
sklearn.preprocessing torchmetrics.functional.classification""".split()
OPTIONS = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no",
           "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip


def tried(files: list[str], seconds: float) -> tuple[str, float]:
    """What the tests say in a fork: ``survived``, ``killed`` or ``hung``; CPU seconds.

    What a signal ended hung: it met the limit of its time.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        code = 1
        try:
            import pytest

            code = int(pytest.main([*OPTIONS, *files]))
        finally:
            os._exit(code)
    end, status = time.monotonic() + 20 * seconds, None
    while status is None and time.monotonic() < end:
        done, found = os.waitpid(child, os.WNOHANG)
        status = found if done else None
        time.sleep(0.02)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return {0: "survived"}.get(code, "hung" if code < 0 else "killed"), used


def worker(mutants: list[Mutant], number: int, done: dict[str, Any]) -> None:
    """Try every mutant of a share, in an own copy of the tree."""
    with tempfile.TemporaryDirectory(prefix=f"mutants-{number}-") as folder:
        root = Path(folder) / "tree"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT)
        os.chdir(root)
        sys.path[0] = str(root)
        for name in [n for n in sys.modules if n.split(".")[0] == "tests"]:
            del sys.modules[name]
        sys.dont_write_bytecode = True
        unchanged: dict[str, float] = {}
        for mutant in mutants:
            if key(mutant) in done:
                continue
            files = tests_of(root, mutant.file)
            group = " ".join(sorted(files))
            if group not in unchanged:
                said, used = tried(files, 3600)
                if said != "survived":
                    raise SystemExit(f"Tests must pass without a change: {files}")
                unchanged[group] = used
            path = root / mutant.file
            text = path.read_text(encoding="utf-8")
            path.write_text(mutant.code(root), encoding="utf-8")
            said, used = tried(files, LIMIT * unchanged[group] + SPARE)
            path.write_text(text, encoding="utf-8")
            line = {"key": key(mutant), "said": said, "seconds": round(used, 1)}
            with JOURNAL.open("a") as journal:
                journal.write(json.dumps(line) + "\n")
            print(f"{said:8} {used:6.1f} s  {mutant.name}", flush=True)


def key(mutant: Mutant) -> str:
    """A mutant of a file as it is now."""
    now = (ROOT / mutant.file).read_bytes()
    return hashlib.sha256(repr(mutant).encode() + now).hexdigest()[:16]


def journal() -> dict[str, Any]:
    lines = JOURNAL.read_text().splitlines() if JOURNAL.exists() else []
    return {line["key"]: line for line in map(json.loads, lines)}


def report(mutants: list[Mutant], seed: int) -> None:
    """Write what was found, with the reasons that were written before."""
    found = journal()
    pairs = [(m, found[key(m)]) for m in mutants if key(m) in found]
    old = json.loads(RESULTS.read_text())["survivors"] if RESULTS.exists() else []
    reasons = {one["name"]: one["reason"] for one in old}
    alive = [mutant for mutant, line in pairs if line["said"] == "survived"]
    about = {
        "seed": seed,
        "tried": len(pairs),
        "killed": len(pairs) - len(alive),
        "hung": sum(line["said"] == "hung" for _, line in pairs),
        "seconds": round(sum(line["seconds"] for _, line in pairs)),
        "survivors": [
            {"name": m.name, "reason": reasons.get(m.name, "")} | _place(m)
            for m in sorted(alive, key=lambda m: (m.file, m.line))
        ],
    }
    RESULTS.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"{about['killed']} of {len(pairs)} mutants killed; see {RESULTS}.")


def _place(mutant: Mutant) -> dict[str, Any]:
    return {k: asdict(mutant)[k] for k in ("file", "line", "operator")}


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.mutants")
    asked.add_argument("--count", type=int, default=420)
    asked.add_argument("--first", type=int, help="of the sample, these alone")
    asked.add_argument("--under", default="", help="ple_study/gates: these alone")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--workers", type=int, default=2)
    given = asked.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    whole = sample(ROOT, given.count, given.seed)
    mutants = [m for m in whole if m.file.startswith(given.under)][: given.first]
    for name in WARM:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    # One directory after the other, so that few tests run without a change.
    ordered = sorted(mutants, key=lambda m: (Path(m.file).parent, m.file, m.line))
    cut = [len(ordered) * i // given.workers for i in range(given.workers + 1)]
    children = []
    for number in range(given.workers):
        child = os.fork()
        if not child:
            worker(ordered[cut[number] : cut[number + 1]], number, journal())
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    report(whole, given.seed)


if __name__ == "__main__":
    main()
