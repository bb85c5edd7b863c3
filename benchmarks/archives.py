"""Public series as they lie in the folder that ``PLE_STUDY_DATA`` names."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

WINDOW, STRIDE = 32, 10


def opened(folder: str, name: str) -> tarfile.TarFile:
    root = Path(os.environ.get("PLE_STUDY_DATA", "../shared/data"))
    return tarfile.open(root / folder / f"{name}.tar.gz")


def labelled(name: str, part: str) -> tuple[list[Tensor], list[str]]:
    """Series ``[time, channel]`` of their own lengths, and their classes."""
    with opened("timeseries", name) as tar:
        text = tar.extractfile(f"{name}/{name}_{part}.ts").read().decode()  # type: ignore[union-attr]
    lines = text.split("@data", 1)[1].split()
    rows = [line.split(":") for line in lines]
    series = [
        torch.tensor([[float(v) for v in channel.split(",")] for channel in row[:-1]]).T
        for row in rows
    ]
    return series, [row[-1] for row in rows]


def windows() -> list[Tensor]:
    """Of traces 15-24 to train, 0-4 to validate, 5-14 to test: the authors' split."""
    with opened("cheetah", "cheetah") as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".npy"))
        files = [io.BytesIO(tar.extractfile(n).read()) for n in names]  # type: ignore[union-attr]
    traces = [torch.from_numpy(np.load(file)).float() for file in files]
    parts = traces[15:25], traces[:5], traces[5:15]
    return [
        torch.cat([t.unfold(0, WINDOW + 1, STRIDE).mT for t in part]) for part in parts
    ]
