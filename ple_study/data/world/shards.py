"""A bank on disk: one file a block, so that memory does not grow with the bank."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ple_study.batch import Batch, Diagrams, Events, Rows, concat
from ple_study.data.loader import Study
from ple_study.data.world.bank import Bank, split

SETTINGS = "bank.json"
FORMAT = 5  # of the blocks: raised when the same settings would make another bank


def write(bank: Bank, folder: str | Path, workers: int = 1) -> None:
    """Store the bank in ``folder``, by so many processes; each holds one block.

    Blocks that the folder already has are kept, so a run that was killed goes on.
    Raises ValueError for a folder that holds another bank, or blocks of one unknown.
    """
    folder = Path(folder)
    if workers < 1:
        raise ValueError(f"workers must be 1 or more. Found {workers}.")
    if folder.is_file():
        raise ValueError(f"A bank goes to a folder. Found a file: {folder}.")
    stored = folder / SETTINGS
    if stored.exists() and _bank(folder) != bank:
        raise ValueError(
            f"The folder must be empty or hold this bank, {bank}. Found "
            f"{_bank(folder)} in {folder}."
        )
    if not stored.exists() and any(folder.glob("block-*.safetensors")):
        raise ValueError(f"Blocks need their {SETTINGS}. Found none in {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    half = stored.with_suffix(".half")
    settings = {"format": FORMAT, **asdict(bank)}
    half.write_text(json.dumps(settings, indent=1, sort_keys=True))
    half.rename(stored)
    numbers = [n for n in range(len(bank)) if not _path(folder, n).exists()]
    if numbers:
        _ = bank.fitted  # once, before the bank is handed to the processes
    Parallel(workers)(delayed(_write)(bank, folder, number) for number in numbers)


def read(folder: str | Path) -> Study:
    """The bank of a folder, whole in memory; twice that while it is put together.

    Raises ValueError for a folder without a bank, with a block missing, and for a
    block that is broken.
    """
    folder = Path(folder)
    if not (folder / SETTINGS).is_file():
        raise ValueError(
            f"A bank's folder has a file {SETTINGS}. Found none in {folder}."
        )
    bank = _bank(folder)
    rows = concat([read_block(folder, number) for number in range(len(bank))])
    return Study(bank.schema, rows, split(bank.num_customers))


def read_block(folder: str | Path, number: int) -> Rows:
    """The customers of one block. Raises ValueError when it is missing or broken."""
    path = _path(Path(folder), number)
    if not path.exists():
        raise ValueError(f"Block {number} is missing: found no {path}.")
    try:
        return _rows(load_file(path))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a whole block. Found: {error}.") from None


def _bank(folder: Path) -> Bank:
    """The bank whose settings the folder holds."""
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text())
        if settings.pop("format") != FORMAT:
            raise ValueError(f"format {FORMAT} is needed")
        lenses = {task: tuple(v) for task, v in settings.pop("lenses").items()}
        return Bank(**settings, lenses=lenses)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must hold a bank's settings. Found: {error!r}."
        ) from None


def _path(folder: Path, number: int) -> Path:
    return folder / f"block-{number:05d}.safetensors"


def _write(bank: Bank, folder: Path, number: int) -> None:
    path = _path(folder, number)
    half = path.with_suffix(".half")
    save_file(flat(bank.rows(number)), half)
    half.rename(path)  # whole or not at all


def flat(value: Any, name: str = "") -> dict[str, Tensor]:
    """Every tensor of nested batches, by the path that leads to it."""
    if isinstance(value, Tensor):
        return {name: value}
    items = value if isinstance(value, dict) else vars(value)
    found: dict[str, Tensor] = {}
    for key, part in items.items():
        found |= (
            flat(part, f"{name}/{key}" if name else key) if part is not None else {}
        )
    return found


def _rows(flat: dict[str, Tensor]) -> Rows:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split("/")
        place = tree
        for key in above:
            place = place.setdefault(key, {})
        place[last] = value
    batch = tree.pop("batch")
    events = {k: Events(**v) for k, v in batch.pop("events").items()}
    diagrams = {k: Diagrams(**v) for k, v in batch.pop("diagrams").items()}
    return Rows(Batch(events=events, diagrams=diagrams, **batch), **tree)
