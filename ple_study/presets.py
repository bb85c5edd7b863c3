"""The whole model in two sizes, ready for any schema with the seven experts' inputs."""

from dataclasses import replace

from ple_study.experts.mlp import MLPSpec
from ple_study.experts.temporal import TemporalSpec
from ple_study.gates.stages import StagesSpec
from ple_study.model import HeterogeneousPLESpec

STUDY = HeterogeneousPLESpec()  # the thread's widths
SMALL = replace(  # the same parts, narrower where the time goes: for a laptop
    STUDY,
    experts={**STUDY.experts, "temporal": TemporalSpec(widths=(32, 32))},
    gates=StagesSpec(expert=MLPSpec(dims=(64, 32))),
    tower=MLPSpec(dims=(32,), activation="silu", norm="layer", dropout=0.1),
)
