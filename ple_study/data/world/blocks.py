"""Customers in blocks: truth, columns, what they did and what came of it."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from ple_study.data.log import Log
from ple_study.data.world.customers import Columns, Customers, join_customers


class Logs(NamedTuple):
    """What customers did before the cut-off: a year, and of sessions 90 days."""

    card: Log
    session: Log
    deposit: Log

    def rows(self, index: Int64[np.ndarray, " row"]) -> "Logs":
        """The events of the customers at ``index``, which must rise."""
        return Logs(*(log.rows(index) for log in self))


class Block(NamedTuple):
    """Some customers: their truth, their columns, what they did and what came of it."""

    who: Customers
    columns: Columns
    logs: Logs
    labels: dict[str, Float[np.ndarray, " customer"]]

    def rows(self, index: Int64[np.ndarray, " row"]) -> "Block":
        """The customers at ``index``, which must rise."""
        labels = {name: values[index] for name, values in self.labels.items()}
        logs = self.logs.rows(index)
        return Block(self.who.rows(index), self.columns[index], logs, labels)


def join(blocks: list[Block]) -> Block:
    """The customers of several blocks, one after the other."""
    borders = np.cumsum([0, *(len(block.who) for block in blocks)]).tolist()
    logs = []
    for parts in zip(*(block.logs for block in blocks), strict=True):
        frames = [log.frame() for log in parts]
        for frame, first in zip(frames, borders, strict=False):
            frame["customer"] += first
        columns = {k: v.to_numpy() for k, v in pd.concat(frames).items()}
        logs.append(replace(parts[0], num_customers=borders[-1], **columns))
    return Block(
        join_customers([block.who for block in blocks]),
        np.concatenate([block.columns for block in blocks]),
        Logs(*logs),
        {k: np.concatenate([b.labels[k] for b in blocks]) for k in blocks[0].labels},
    )
