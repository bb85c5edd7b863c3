"""The cut-off days of the shop (see ``retail``)."""

from ple_study.data.journey.snapshots import Snapshot, taken
from ple_study.data.retail.tables import Orders

FIRST = {"train": 260, "val": 624, "test": 680}  # first cut-off day of each part
END = {"train": 624, "val": 680, "test": 736}  # its labels are known by then
KEYS = ("category", "department", "product")


def snapshots(orders: Orders) -> list[Snapshot]:
    """All cut-offs in order of time, one every four weeks."""
    return taken(orders, FIRST, END, keys=KEYS)
