"""What three hidden Markov models see of a customer, each at its own time scale.

========= ======================= ====== ====== ============
mode      steps                   events amount categories
========= ======================= ====== ====== ============
journey   the last 180 days       lines  pounds kinds
lifecycle months, twelve at most  orders pounds main kinds
behavior  months, twelve at most  lines  pieces finer kinds
========= ======================= ====== ====== ============

So behavior sees how a customer shops: how many pieces, and how widely.
"""

from ple_study.data.journey.features import MONTH
from ple_study.data.journey.modes import VIEWS as HOUSEHOLDS
from ple_study.data.journey.modes import Table, View, paid_visits
from ple_study.data.journey.windows import Window


def pieces(past: Window) -> Table:
    return past.lines, past.lines["quantity"]


VIEWS = {
    "journey": HOUSEHOLDS["journey"],
    "lifecycle": View(12, MONTH, paid_visits, "department"),
    "behavior": View(12, MONTH, pieces, "category"),
}
