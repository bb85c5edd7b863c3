"""What a model reads of a customer's hidden states: one row of numbers a mode.

The row holds the filtered state probabilities of the last step and six numbers on the
path of states; by 10 states, 16 numbers. A customer without a series has a row of NaN.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.batch import Events
from ple_study.data.hmm.model import FittedHMM
from ple_study.data.hmm.series import present

DYNAMICS = (
    "velocity",
    "acceleration",
    "lyapunov",
    "cycle_period",
    "attractor",
    "trajectory_length",
)
PROFILE = ("duration", "stability", "entropy", "dominant_state", "change_rate")
LONGEST = 1000.0  # steps: the dwell time of a state that is never left
Layout = Literal["dynamics", "profile", "dwell"]


def summary(
    fitted: FittedHMM, events: Events, layout: Layout = "dynamics"
) -> Float[Tensor, "batch state"]:
    """One row a customer: the filtered probabilities of the last step, and more.

    ========== =========================================== =======================
    layout     columns                                     width
    ========== =========================================== =======================
    dynamics   probabilities, ``DYNAMICS``                 10 states: 10 + 6 = 16
    profile    probabilities, ``PROFILE``, ``DYNAMICS``    5 states: 5 + 5 + 6
    dwell      state, probabilities, dwell time, entropy   5 or 6 states: 8 or 9
    ========== =========================================== =======================

    ``events`` must end at the cut-off; the Viterbi path sees all of them. The names of
    ``DYNAMICS`` are the thread's; "lyapunov" and "attractor" are ratios of counts.
    """
    known = present(events)
    if not known.any():
        states = len(fitted.parameters.start)
        more = {"dynamics": 6, "profile": 11, "dwell": 3}[layout]
        return events.values.new_full((len(known), states + more), math.nan)
    some = events.rows(known.nonzero()[:, 0])
    last, path = fitted.filtered(some)[:, -1], fitted.viterbi(some)
    moves = fitted.parameters.transition
    if layout == "dwell":
        parts = [path[:, -1:], last, dwell(moves)[path[:, -1]]]
    elif layout == "profile":
        parts = [last, profiles(last, path, moves), dynamics(path)]
    else:
        parts = [last, dynamics(path)]
    found = torch.cat(parts, 1).to(events.values.dtype)
    rows = found.new_full((len(known), found.shape[1]), math.nan)
    return rows.index_put((known,), found)


def dynamics(path: Int[Tensor, "batch time"]) -> Float[Tensor, "batch 6"]:
    """Six numbers on each path q_1..q_T; -1 marks padding at the front.

    A path too short for a difference scores 0 there. ``trajectory_length`` is
    ``velocity`` times (T - 1) / T, kept because the layout has it.
    """
    real = path >= 0
    size = real.sum(1).double()
    q = path.double()
    moves = (q.diff(dim=1).abs() * real[:, :-1]).double()
    turns = q.diff(n=2, dim=1).abs() * real[:, :-2]
    columns = [
        # mean |q_t - q_{t-1}|
        moves.sum(1) / (size - 1).clamp(min=1),
        # mean |q_t - 2 q_{t-1} + q_{t-2}|
        turns.sum(1) / (size - 2).clamp(min=1),
        growth(moves, size),
        period(path),
        concentration(path),
        # sum |q_t - q_{t-1}| / T
        moves.sum(1) / size.clamp(min=1),
    ]
    return torch.stack(columns, 1)


def growth(
    moves: Float[Tensor, "batch move"], size: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """How much more a path moves in its second half than in its first."""
    back = torch.arange(moves.shape[1], 0, -1, device=moves.device)  # 1 at the last
    late = back <= ((size - 1) / 2).ceil()[:, None]
    # sum over the last ceil((T-1)/2) moves / (sum over the first ones + 1);
    # one state's step is added, so that a quiet first half does not blow it up.
    return (moves * late).sum(1) / ((moves * ~late).sum(1) + 1)


def period(path: Int[Tensor, "batch time"]) -> Float[Tensor, " batch"]:
    """Lag of the highest peak of the autocorrelation, as a share of lag T // 2.

    A peak rises above the lag before and does not fall below the lag after it, so a
    path that merely stays where it is has none; without a positive peak, 0.
    """
    real = path >= 0
    size = real.sum(1)
    mean = (path * real).sum(1) / size.clamp(min=1)
    centred = ((path - mean[:, None]) * real).double()
    # r_l = sum_t c_t c_{t-l} / sum_t c_t^2, by the Fourier transform
    width, most = 2 * path.shape[1] + 2, max(path.shape[1] // 2, 1)
    spectrum = torch.fft.rfft(centred, n=width, dim=1)
    r = torch.fft.irfft(spectrum.abs() ** 2, n=width, dim=1)[:, : most + 2]
    r = r / r[:, :1].clamp(min=1e-9)
    here, noise = r[:, 1:-1], 1e-9
    peak = (here > r[:, :-2] + noise) & (here > r[:, 2:] - noise) & (here > noise)
    lags = torch.arange(1, most + 1, device=path.device)
    peak &= lags <= (size // 2)[:, None]
    best, at = here.where(peak, 0.0).max(1)
    return lags[at].where(best > 0, 0) / (size // 2).clamp(min=1).double()


def concentration(path: Int[Tensor, "batch time"]) -> Float[Tensor, " batch"]:
    """Share of the commonest state in the last quarter, over that in the whole."""
    real = path >= 0
    size = real.sum(1)
    tail_size = (size / 4).ceil()
    back = torch.arange(path.shape[1], 0, -1, device=path.device)
    tail = back <= tail_size[:, None]
    # max_k freq_k(q_t : t > T - ceil(T/4)) / max_k freq_k(q_1..q_T)
    states = range(int(path.max()) + 1)
    late = torch.stack([((path == k) & tail).sum(1) for k in states]).amax(0)
    ever = torch.stack([(path == k).sum(1) for k in states]).amax(0)
    return (late / tail_size) / (ever / size)


def profiles(
    last: Float[Tensor, "batch state"],
    path: Int[Tensor, "batch time"],
    transition: Float[Tensor, "state state"],
) -> Float[Tensor, "batch 5"]:
    """Five numbers on where each customer stands now, all between 0 and 1."""
    real = path >= 0
    size = real.sum(1)
    changed = ((path.diff(dim=1) != 0) & real[:, :-1]).double()
    same = (path == path[:, -1:]).flip(1).long().cumprod(1)
    columns = [
        # length of the run of q_T that ends at T, over T
        same.sum(1) / size,
        # a_ii with i = q_T, the chance to stay
        transition.diagonal()[path[:, -1]],
        # -sum_k p_k log p_k / log K
        torch.special.entr(last).sum(1) / math.log(max(last.shape[1], 2)),
        # argmax_k p_k / (K - 1)
        last.argmax(1) / max(last.shape[1] - 1, 1),
        # share of moves with q_t != q_{t-1}
        changed.sum(1) / (size - 1).clamp(min=1),
    ]
    return torch.stack([column.double() for column in columns], 1)


def dwell(transition: Float[Tensor, "state state"]) -> Float[Tensor, "state 2"]:
    """Expected steps in each state, ``LONGEST`` at most, and entropy of its moves."""
    # 1 / (1 - a_ii), the mean of a geometric time; -sum_j a_ij log a_ij, in nats
    leaves = (1 - transition.diagonal()).clamp(min=1 / LONGEST)
    return torch.stack([1 / leaves, torch.special.entr(transition).sum(1)], 1)
