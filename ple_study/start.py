"""Where a run begins: with another's weights, and with parts that shall not learn."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from ple_study.batch import Model, ModelSpec
from ple_study.checkpoint import spec_to_json, under
from ple_study.fitted import Fitted
from ple_study.gates.freeze import Freezable
from ple_study.names import nearest
from ple_study.schema import Schema


class Frozen:
    """Parts of a model that stay as they are while the rest of it learns.

    names: submodules, dotted. Their parameters do not learn; in eval mode their dropout
    draws nothing and their batch normalisation keeps its statistics. They remain
    functions of what they read: where that learns, their answers move.

    A gate that stopped by itself (``Freezable``) is another matter: its flag is in its
    weights, and what such a gate's flag says is kept here as well.

    Raises ValueError for a name that no module has, and when nothing is left to learn.
    """

    def __init__(self, model: nn.Module, names: Sequence[str] = ()) -> None:
        self.model, self.parts = model, _modules(model, names)
        inside = [module for part in self.parts for module in part.modules()]
        self.flags = [(m, m.held) for m in inside if isinstance(m, Freezable)]
        own = [p for part in self.parts for p in part.parameters()]
        self.learned = [p for p in own if p.requires_grad]
        self.hold()
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError(
                f"A run needs a parameter that learns. Found none beside the frozen "
                f"{list(names)}."
            )

    def hold(self) -> None:
        """After an epoch began: the model was put in train mode, and gates may stop."""
        for gate, held in self.flags:
            if gate.held != held:
                gate.freeze(on=held)
        for part in self.parts:
            part.eval().requires_grad_(False)

    def release(self) -> None:
        """What learned before may learn again, but for gates that stopped since."""
        for parameter in self.learned:
            parameter.requires_grad_(True)
        for module in self.model.modules():
            if isinstance(module, Freezable) and module.held:
                module.requires_grad_(False)


def _modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    if isinstance(names, str):
        raise ValueError(f"frozen is a list of names. Found the word {names!r}.")
    known = {name: module for name, module in model.named_modules() if name}
    for name in names:
        if name not in known:
            children = [child for child, _ in model.named_children()]
            raise ValueError(
                f"frozen names modules of the model, {children} or parts of them. "
                f"Found {name!r}.{nearest(name, known)}"
            )
    return [known[name] for name in names]


def check_start(start: Fitted, spec: ModelSpec, schema: Schema) -> None:
    """Raises ValueError when these are the weights of another model."""
    pairs = {
        "spec": (_ordered(start.spec), _ordered(spec)),
        "schema": (start.schema, schema),
    }
    other = [name for name, (found, asked) in pairs.items() if found != asked]
    if other:
        raise ValueError(
            "A run starts from a model of its own spec and schema. Found another "
            f"{' and another '.join(other)}."
        )


def begun(spec: ModelSpec, schema: Schema, start: Fitted | None) -> Model:
    """The model as it is built, with the start's weights if there is one."""
    model = spec.build(schema)
    if start:
        model.load_state_dict(start.model.state_dict())
    return model


def _ordered(spec: ModelSpec) -> Any:
    """A spec's values with names in their order, by which gates know the experts."""
    return json.loads(json.dumps(spec_to_json(spec)), object_pairs_hook=tuple)


def weights_hash(start: Fitted | None) -> str:
    """A hash of the weights and the scaler that a run begins with; none, no hash."""
    if start is None:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    state, scaler = start.model.state_dict(), start.scaler._asdict()
    for name, tensor in {**state, **under("scaler", scaler)}.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
