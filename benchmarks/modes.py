"""Whose hidden states should a task hear: ``python -m benchmarks.modes``.

One expert (DeepFM) and hidden states in front of the towers, trained on small banks of
6,000 customers, a bank and a training a seed. The arms differ in the rows of hidden
states and in who hears them: the bank's three models, each heard by its own tasks; one
projector for all; one mode for everybody; one hidden Markov model in place of three;
rows that are missing for half of the customers by chance, or for those of two planted
states. Beside them stand arms to compare with: no rows, the rows of somebody else, the
planted states themselves, and the usual arm from another start. The real households
have the first of these arms too, a training a seed.

Each bank is also asked how well rows tell the planted states and what these add to a
task, how many numbers the six dynamics are worth, and whether rows of zeros are still
zeros once they are scaled.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import one_hot, pad

from benchmarks.clock import machine
from ple_study.batch import Batch, Events, Rows
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.hmm.observations import observations
from ple_study.data.hmm.regimes import DYNAMICS
from ple_study.data.journey import journey
from ple_study.data.loader import Study
from ple_study.data.world import Bank, inputs
from ple_study.data.world.bank import Truth, split
from ple_study.data.world.blocks import Logs
from ple_study.data.world.customers import STEPS
from ple_study.data.world.labels import parts
from ple_study.data.world.plan import Plan
from ple_study.data.world.signal import CONTEXT
from ple_study.data.world.sizes import HISTORY, MONTH
from ple_study.data.world.tasks import LENSES
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.stages import StagesSpec
from ple_study.metrics import score
from ple_study.model import HeterogeneousPLESpec
from ple_study.tasks.modes import ModesSpec, valid
from ple_study.training import Training, fit

RESULTS = Path(__file__).parent / "results" / "modes.json"
CUSTOMERS = 6_000
TRAINING = Training(epochs=8, batch_size=256, lr=3e-3, schedule="cosine")
MODES = tuple(STEPS)
LAST = (3, 4)  # of lifecycle: who is in them is missing in the arms "telling"
ROUTED = ModesSpec()
ZEROS = ModesSpec(learned=False)
OTHER = 1_000  # added to a seed that must differ from it

States = Float[Tensor, "batch mode state"]


class Arm(NamedTuple):
    """The rows that a model is shown, and how it routes them; None for no rows."""

    states: States
    modes: ModesSpec | None = ROUTED
    seed: int = 0  # added to the bank's for the training


def daily(plan: Plan, logs: Logs) -> Events:
    """What one model for everything sees by day: sessions, and payments beside them."""
    session, card, days = logs.session, logs.card, STEPS["journey"]
    screens = np.arange(session.num_places + 1) - 1
    both = [
        observations(session.visits, screens, cutoff=HISTORY, days=days),
        observations(card.visits, categories(plan), cutoff=HISTORY, days=days),
    ]
    values = torch.cat([part.values for part in both], dim=2)
    return Events(values, both[0].mask | both[1].mask)


def monthly(plan: Plan, logs: Logs) -> Events:
    """What one sees by month: amount, number and categories of the payments."""
    return observations(
        logs.card.visits,
        categories(plan),
        cutoff=HISTORY,
        days=HISTORY,
        period=MONTH,
    )


def categories(plan: Plan) -> np.ndarray:
    return np.concatenate([[-1], plan.leaves[:, 1]])


ONE: Mapping[str, Callable[[Plan, Logs], Events]] = {"daily": daily, "monthly": monthly}


def one_for_all(bank: Bank, name: str) -> States:
    """Rows of one hidden Markov model, three times, learnt as the bank's own are."""
    seen = ONE[name]
    train = {name: seen(bank.plan, bank.training().logs)}
    fitted = fit_modes(train, num_states=inputs.STATES, seed=bank.seed)
    blocks = (bank.block(number) for number in range(len(bank)))
    rows = [mode_states(fitted, {name: seen(bank.plan, b.logs)}) for b in blocks]
    return torch.cat(rows).expand(-1, len(MODES), -1)


def columns_and_states(bank: Bank) -> Study:
    """The bank as far as these models read it: no series, diagrams or graphs."""
    blocks = [bank.block(number) for number in range(len(bank))]
    seen = [inputs.series(bank.plan, block.logs) for block in blocks]
    numeric = torch.from_numpy(np.concatenate([b.columns for b in blocks])).float()
    batch = Batch(
        numeric,
        torch.zeros(len(numeric), 0, dtype=torch.int64),
        states=torch.cat([mode_states(bank.fitted.modes, part) for part in seen]),
    )
    labels = {
        name: torch.from_numpy(np.concatenate([b.labels[name] for b in blocks])).float()
        for name in bank.schema.task_names
    }
    schema = replace(bank.schema, sequences=(), diagrams=(), clusters=0, vectors=())
    return Study(schema, Rows(batch, labels), split(len(numeric)))


def without(states: States, missing: Bool[Tensor, " batch"]) -> States:
    """The same where these customers have no row in any mode."""
    return states.masked_fill(missing[:, None, None], torch.nan)


def planted(truth: Truth) -> dict[str, Tensor]:
    """The state that each customer is in at the cut-off, by mode."""
    regimes = truth.customers.regimes
    return {name: torch.from_numpy(regimes[name][:, -1]) for name in MODES}


def planned(
    states: States, ones: Mapping[str, States], last: Mapping[str, Tensor], seed: int
) -> dict[str, Arm]:
    """What only a bank can be asked: its truth, and rows that its customers lose."""
    width, rows = states.shape[2], len(states)
    half = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) < 0.5
    told = [pad(one_hot(s), (0, width - int(s.max()) - 1)) for s in last.values()]
    chance = without(states, half)
    telling = without(states, torch.isin(last["lifecycle"], torch.tensor(LAST)))
    return {
        "planted states": Arm(torch.stack(told, 1).float()),
        "chance, learned": Arm(chance),
        "chance, zeros": Arm(chance, ZEROS),
        "telling, learned": Arm(telling),
        "telling, zeros": Arm(telling, ZEROS),
        **{f"one, {name}": Arm(rows) for name, rows in ones.items()},
    }


def routed(states: States, seed: int) -> dict[str, Arm]:
    """The same rows under other routes, without a route, and of somebody else."""
    draw = torch.Generator().manual_seed(seed + OTHER)
    somebody = torch.randperm(len(states), generator=draw)
    return {
        "three": Arm(states),
        "three, another start": Arm(states, seed=OTHER),
        "shared projector": Arm(states, ModesSpec(shared=True)),
        "none": Arm(states, None),
        "somebody else's": Arm(states[somebody]),
        **{
            f"{mode} for all": Arm(states, ModesSpec(groups={}, fallback=mode))
            for mode in MODES
        },
    }


def skills(study: Study, arm: Arm, seed: int) -> dict[str, Any]:
    """One training: every task's skill on test customers."""
    spec = HeterogeneousPLESpec(
        experts={"deepfm": DeepFMSpec()},
        gates=StagesSpec(which="neither", attention=CGCAttentionSpec(prior=0.0)),
        modes=arm.modes,
        basket=None,
        transfer=None,
        tower=MLPSpec(dims=(32,), activation="silu", norm="layer", dropout=0.1),
    )
    shown = study.with_inputs(states=arm.states)
    fitted = fit(shown, spec, training=TRAINING, seed=seed + arm.seed, progress=False)
    found = fitted.evaluate(shown.part("test"))
    skill = {task: values["skill"] for task, values in found.items()}
    return {
        "score": round(score(found), 5),
        "skill": {task: round(value, 4) for task, value in skill.items()},
        "best": fitted.best_epoch,
    }


def tells(
    rows: Float[Tensor, "batch state"], state: Tensor, study: Study
) -> dict[str, float]:
    """How well a row tells a planted state, by a linear model, on test customers.

    accuracy, and bits: by how much it shortens the message that names the state, beside
    a model that knows how common each state is in training.
    """
    y = state.numpy()
    x, (train, test) = with_a_row(rows, study)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    model.fit(x[train], y[train])
    share = np.bincount(y[train]) / len(train)
    plain = -np.log(share[y[test]]).mean()
    told = log_loss(y[test], model.predict_proba(x[test]), labels=model.classes_)
    return {
        "accuracy": round(float(model.score(x[test], y[test])), 4),
        "commonest": round(float((y[test] == share.argmax()).mean()), 4),
        "bits": round(float((plain - told) / np.log(2)), 4),
    }


def effects_told(
    truth: Truth, sources: Mapping[str, Tensor], task: str, study: Study
) -> dict[str, float]:
    """Of what the planted state adds to a task's score, the share that a row tells.

    R squared of a ridge regression from the row, on test customers, of the component
    that a binary task and an amount are made of.
    """
    place = [t.spec.name for t in truth.signal.tasks].index(task)
    regime = len(LENSES) + CONTEXT.index("regime")
    y = parts(truth.plan, truth.signal, truth.customers)[:, place, regime, 0]
    found = {}
    for name, rows in sources.items():
        x, (train, test) = with_a_row(rows, study)
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
        told = model.fit(x[train], y[train]).score(x[test], y[test])
        found[name] = round(float(told), 4)
    return found


def with_a_row(
    rows: Float[Tensor, "batch state"], study: Study
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows in numpy, and which training and test customers have one."""
    known = rows.isfinite().all(1)
    some = [study.split[part] for part in ("train", "test")]
    return rows.nan_to_num().numpy(), [part[known[part]].numpy() for part in some]


def effective_number(rows: Float[Tensor, "batch state"]) -> float:
    """exp of the entropy of the dynamics' correlation spectrum."""
    dynamics = rows[rows.isfinite().all(1), -len(DYNAMICS) :].double()
    spectrum = torch.linalg.eigvalsh(dynamics.T.corrcoef()).clamp(min=0)
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


def still_zero(states: States, study: Study, seed: int) -> dict[str, float]:
    """Of a tenth of the customers, whose rows become zeros, who is seen to have none.

    raw: as the rows are. scaled: after the columns have mean 0 and deviation 1 over the
    training customers, the zeros among them. A customer is seen when all is zero.
    """
    lost = torch.rand(len(states), generator=torch.Generator().manual_seed(seed)) < 0.1
    zeroed = states.masked_fill(lost[:, None, None], 0.0)
    train = zeroed[study.split["train"]]
    train = train[valid(train).all(1)]
    std, mean = torch.std_mean(train, 0, correction=0)
    scaled = (zeroed - mean) / std.clamp(min=1e-7)
    return {
        name: float((rows[lost] == 0).all(2).all(1).double().mean())
        for name, rows in {"raw": zeroed, "scaled": scaled}.items()
    }


def measure(customers: int, seed: int) -> dict[str, Any]:
    """All of one bank."""
    bank = Bank(customers, seed=seed, size="small")
    study = columns_and_states(bank)
    states = study.rows.batch.states
    assert states is not None
    ones = {name: one_for_all(bank, name) for name in ONE}
    truth = bank.truth()
    last = planted(truth)
    sources = dict(zip(MODES, states.unbind(1), strict=True))
    sources |= {f"one, {name}": rows[:, 0] for name, rows in ones.items()}
    found: dict[str, Any] = {
        "customers": customers,
        "seed": seed,
        "without a row": {
            name: round(float((~rows.isfinite().all(1)).double().mean()), 4)
            for name, rows in sources.items()
        },
        "tells": {
            mode: {name: tells(rows, state, study) for name, rows in sources.items()}
            for mode, state in last.items()
        },
        "effects told": {
            task: effects_told(truth, sources, task, study)
            for task in study.schema.task_names
        },
        "effective": {
            mode: round(effective_number(rows), 4)
            for mode, rows in zip(MODES, states.unbind(1), strict=True)
        },
        "still zero": still_zero(states, study, seed),
    }
    arms = routed(states, seed) | planned(states, ones, last, seed)
    return found | {"arms": trained(study, arms, seed)}


def households(study: Study, seed: int) -> dict[str, Any]:
    """The same questions where nothing is planted."""
    states = study.rows.batch.states
    assert states is not None
    return {"seed": seed, "arms": trained(study, routed(states, seed), seed)}


def trained(study: Study, arms: Mapping[str, Arm], seed: int) -> dict[str, Any]:
    found = {}
    for name, arm in arms.items():
        found[name] = skills(study, arm, seed)
        print(len(study.rows), seed, name, found[name]["score"], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"epochs": TRAINING.epochs, "machine": machine("cpu")}
    found |= {"banks": [], "households": []}
    for seed in asked.seeds:
        found["banks"].append(measure(asked.customers, seed))
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    study = journey(lenses=["states"])
    for seed in asked.seeds:
        found["households"].append(households(study, seed))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
