"""Multi-task learning with heterogeneous experts: progressive layered extraction.

The public names, each in the module that it comes from. Nothing is imported before it
is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ple_study.baselines import MMoESpec as MMoESpec
    from ple_study.baselines import PLESpec as PLESpec
    from ple_study.baselines import SharedBottomSpec as SharedBottomSpec
    from ple_study.baselines import SingleTaskSpec as SingleTaskSpec
    from ple_study.batch import Batch as Batch
    from ple_study.batch import Events as Events
    from ple_study.batch import Output as Output
    from ple_study.batch import Rows as Rows
    from ple_study.data.loader import Loader as Loader
    from ple_study.data.loader import Scaler as Scaler
    from ple_study.data.loader import Study as Study
    from ple_study.data.loader import random_split as random_split
    from ple_study.data.parquet import ParquetRows as ParquetRows
    from ple_study.data.scan import scan_schema as scan_schema
    from ple_study.data.shards import map_shards as map_shards
    from ple_study.data.stream import Stream as Stream
    from ple_study.data.streamed import StreamedStudy as StreamedStudy
    from ple_study.data.streamed import stream_parquet as stream_parquet
    from ple_study.data.tables import batch_from_frame as batch_from_frame
    from ple_study.data.tables import from_frame as from_frame
    from ple_study.data.tables import from_parquet as from_parquet
    from ple_study.data.tables import infer_schema as infer_schema
    from ple_study.data.tables import time_split as time_split
    from ple_study.experts.mlp import MLPSpec as MLPSpec
    from ple_study.export import load as load
    from ple_study.export import onnx_inputs as onnx_inputs
    from ple_study.export import save as save
    from ple_study.export import to_onnx as to_onnx
    from ple_study.fitted import Fitted as Fitted
    from ple_study.gates.attention import CGCAttentionSpec as CGCAttentionSpec
    from ple_study.gates.routing import GateSpec as GateSpec
    from ple_study.gates.stages import StagesSpec as StagesSpec
    from ple_study.learner import Training as Training
    from ple_study.model import HeterogeneousPLESpec as HeterogeneousPLESpec
    from ple_study.monitoring import Monitor as Monitor
    from ple_study.objective.adatt import AdaTTSpec as AdaTTSpec
    from ple_study.objective.gradnorm import GradNormSpec as GradNormSpec
    from ple_study.objective.surgery import GradientSurgerySpec as GradientSurgerySpec
    from ple_study.objective.weighting import (
        DynamicWeightAverageSpec as DynamicWeightAverageSpec,
    )
    from ple_study.objective.weighting import FixedWeightingSpec as FixedWeightingSpec
    from ple_study.objective.weighting import (
        UncertaintyWeightingSpec as UncertaintyWeightingSpec,
    )
    from ple_study.schema import Feature as Feature
    from ple_study.schema import Schema as Schema
    from ple_study.schema import Sequence as Sequence
    from ple_study.schema import TaskSpec as TaskSpec
    from ple_study.schema import Transfer as Transfer
    from ple_study.serving.publish import publish as publish
    from ple_study.serving.service import Service as Service
    from ple_study.students import distill as distill
    from ple_study.tasks.basket import BasketSpec as BasketSpec
    from ple_study.tasks.evidential import EvidentialSpec as EvidentialSpec
    from ple_study.tasks.modes import ModesSpec as ModesSpec
    from ple_study.tasks.transfer import TransferSpec as TransferSpec
    from ple_study.training import fit as fit
    from ple_study.two_phase import TwoPhase as TwoPhase
    from ple_study.two_phase import fit_two_phase as fit_two_phase

_NAMES = {
    "baselines": ("MMoESpec", "PLESpec", "SharedBottomSpec", "SingleTaskSpec"),
    "batch": ("Batch", "Events", "Output", "Rows"),
    "data.loader": ("Loader", "Scaler", "Study", "random_split"),
    "data.parquet": ("ParquetRows",),
    "data.scan": ("scan_schema",),
    "data.shards": ("map_shards",),
    "data.stream": ("Stream",),
    "data.streamed": ("StreamedStudy", "stream_parquet"),
    "data.tables": (
        "batch_from_frame",
        "from_frame",
        "from_parquet",
        "infer_schema",
        "time_split",
    ),
    "experts.mlp": ("MLPSpec",),
    "export": ("load", "onnx_inputs", "save", "to_onnx"),
    "fitted": ("Fitted",),
    "gates.attention": ("CGCAttentionSpec",),
    "gates.routing": ("GateSpec",),
    "gates.stages": ("StagesSpec",),
    "learner": ("Training",),
    "model": ("HeterogeneousPLESpec",),
    "monitoring": ("Monitor",),
    "objective.adatt": ("AdaTTSpec",),
    "objective.gradnorm": ("GradNormSpec",),
    "objective.surgery": ("GradientSurgerySpec",),
    "objective.weighting": (
        "DynamicWeightAverageSpec",
        "FixedWeightingSpec",
        "UncertaintyWeightingSpec",
    ),
    "schema": ("Feature", "Schema", "Sequence", "TaskSpec", "Transfer"),
    "serving.publish": ("publish",),
    "serving.service": ("Service",),
    "students": ("distill",),
    "tasks.basket": ("BasketSpec",),
    "tasks.evidential": ("EvidentialSpec",),
    "tasks.modes": ("ModesSpec",),
    "tasks.transfer": ("TransferSpec",),
    "training": ("fit",),
    "two_phase": ("TwoPhase", "fit_two_phase"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"ple_study has no {name!r}. It has {__all__}.")
    return getattr(import_module(f"ple_study.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
