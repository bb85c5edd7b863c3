"""How a sparse autoencoder is fitted: its own optimiser, its penalty, its dead latents.

``sae, history = fit_sae(output.experts, SAESpec(k=30), seed=0)``
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.devices import seeded
from ple_study.fitted import CHUNK
from ple_study.interpret.sae.autoencoder import (
    Blocks,
    SAESpec,
    SparseAutoencoder,
    sae_loss,
)

SPEC = SAESpec()
GAIN = 0.02  # how far a step moves the penalty, if L0 is e times what is wanted
LEAST = 1e-3  # of the penalty, where more than half of the latents are wanted
REVIVED = 0.5  # a revived latent's norm, by the mean norm of those alive
SOME = 1024  # rows that set the first biases
SETTLE = 0.75  # of the epochs after which no latent is revived

Inputs = Float[Tensor, "row dim"]


class FittedSAE(NamedTuple):
    """An autoencoder and, for each epoch, how its fit went.

    An entry of ``history`` has ``epoch`` (from one); ``error`` and ``l0``, means over
    the epoch's rows; ``l1``, the penalty at its end; ``dead``, the latents that had
    not been on for ``window`` rows, and ``revived``, how many of them were set anew.
    """

    sae: SparseAutoencoder
    history: list[dict[str, float]]


def fit_sae(
    blocks: Blocks,
    spec: SAESpec = SPEC,
    *,
    seed: int = 0,
    epochs: int = 20,
    batch_size: int = 256,
    lr: float = 1e-3,
    window: int | None = None,
) -> FittedSAE:
    """Fit an autoencoder in float32 to the experts' blocks, or to what is one block.

    Nothing that made the blocks learns, whether or not gradients are on, and the
    caller's random numbers stay as they were. The blocks are standardised first, so
    that b_pre = 0, where it starts, is the mean of the rows. With "relu" and no ``l1``
    the biases start where k latents a row are on, and after every step
    log l1 += 0.02 min(1, max(-1, log(L0 / k))).

    A latent is dead when it has not been on for ``window`` rows, by default as many
    as there are. At the end of an epoch in the first three quarters, the dead are laid
    along the residuals of the rows that are rebuilt worst, one a row, with half the
    mean norm and with the mean bias of those alive, and Adam forgets them.

    Raises ValueError for blocks that are empty, not finite or of different lengths,
    for options below one or an ``lr`` of zero or less, and as ``SAESpec.build`` does.
    """
    parts = [blocks] if isinstance(blocks, Tensor) else list(blocks)
    lengths = sorted({len(part) for part in parts})
    if len(lengths) != 1 or lengths[0] < 2:
        raise ValueError(
            f"Blocks have the same rows, two or more. Found lengths {lengths}."
        )
    if not all(bool(part.isfinite().all()) for part in parts):
        raise ValueError("Blocks must be finite. Found NaN or infinity.")
    window = lengths[0] if window is None else window
    if min(epochs, batch_size, window) < 1 or not lr > 0:
        raise ValueError(
            "A fit needs epochs, batch_size and window >= 1 and lr > 0. Found "
            f"{epochs}, {batch_size}, {window} and {lr}."
        )
    device = parts[0].device
    with seeded(device, seed), torch.inference_mode(False):  # gradients on
        sae = spec.build(*(part.shape[1] for part in parts)).to(device, torch.float32)
        sae.standardise_by(parts)
        run = _Run(sae, sae.standardise(parts), lr, window)
        history = []
        for epoch in range(1, epochs + 1):
            entry = run.epoch(batch_size)
            dead = run.dead()
            revived = run.revive(dead) if epoch <= SETTLE * epochs else 0
            counts = {"dead": len(dead), "revived": revived}
            history.append({"epoch": epoch, **entry, **counts})
    return FittedSAE(sae, history)


class _Run:
    def __init__(
        self, sae: SparseAutoencoder, inputs: Inputs, lr: float, window: int
    ) -> None:
        self.sae, self.inputs, self.window = sae, inputs, window
        self.adam = torch.optim.Adam(sae.parameters(), lr=lr, fused=True)
        self.idle = inputs.new_zeros(sae.latents, dtype=torch.long)
        spec = sae.spec
        self.adapts = spec.activation == "relu" and spec.l1 is None
        self.l1 = inputs.new_tensor(spec.l1 or 0.0)
        if self.adapts:
            self.l1 = self._start()

    @torch.no_grad()
    def _start(self) -> Tensor:
        """The bias with which k latents a row are on, and a penalty like it."""
        some = self.inputs[torch.randperm(len(self.inputs))[:SOME]]
        wanted = self.sae.spec.k * len(some)
        drive = (some @ self.sae.encoder.T).flatten()
        bar = drive.topk(wanted).values[-1].clamp(min=0.0)
        self.sae.bias.fill_(-bar)
        return bar.clamp(min=LEAST)

    def epoch(self, batch_size: int) -> dict[str, float]:
        order = torch.randperm(len(self.inputs)).to(self.inputs.device)
        found = [self.step(rows) * len(rows) for rows in torch.split(order, batch_size)]
        error, count = (torch.stack(found).sum(0) / len(order)).tolist()
        return {"error": error, "l0": count, "l1": float(self.l1)}

    def step(self, rows: Int[Tensor, " row"]) -> Float[Tensor, " 2"]:
        """One step on these rows; their error and L0 before it."""
        coded = self.sae.code(self.inputs[rows])
        self.adam.zero_grad()
        sae_loss(coded, self.l1).backward()  # type: ignore[no-untyped-call]
        self.sae.hold_norms()
        self.adam.step()
        self.sae.restore_norms()
        with torch.no_grad():
            on = coded.codes > 0
            count = on.sum(1).float().mean()
            self.idle = (self.idle + len(rows)).masked_fill(on.any(0), 0)
            if self.adapts:
                off = (count / self.sae.spec.k).log().clamp(-1.0, 1.0)
                self.l1 = self.l1 * (GAIN * off).exp()
            return torch.stack([sae_loss(coded), count])

    def dead(self) -> Int[Tensor, " latent"]:
        return (self.idle >= self.window).nonzero()[:, 0]

    @torch.no_grad()
    def revive(self, dead: Int[Tensor, " latent"]) -> int:
        """Lay dead latents along the largest residuals, as many as there are rows."""
        alive = self.idle < self.window
        dead = dead[: len(self.inputs)]
        if not len(dead) or not alive.any():
            return 0
        residuals = torch.cat([
            coded.inputs - coded.rebuilt
            for coded in map(self.sae.code, torch.split(self.inputs, CHUNK))
        ])  # fmt: skip
        worst = residuals.norm(dim=1).topk(len(dead)).indices
        unit = torch.nn.functional.normalize(residuals[worst], dim=1)
        sae = self.sae
        sae.encoder[dead] = unit * (REVIVED * sae.encoder[alive].norm(dim=1).mean())
        sae.bias[dead] = sae.bias[alive].mean()
        if sae.decoder is not None:
            sae.decoder[dead] = unit
        for weight in (sae.encoder, sae.bias, sae.decoder):
            if weight is not None:
                for memory in ("exp_avg", "exp_avg_sq"):
                    self.adam.state[weight][memory][dead] = 0.0
        self.idle[dead] = 0
        return len(dead)
