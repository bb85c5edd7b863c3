"""Small experts of every kind and option, which all obey the same laws."""

from dataclasses import replace

from ple_study.experts.base import ExpertSpec
from ple_study.experts.causal import CausalSpec
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.hgcn import HGCNSpec
from ple_study.experts.lightgcn import LightGCNSpec
from ple_study.experts.perslay import PersLaySpec
from ple_study.experts.temporal import TemporalSpec
from ple_study.experts.transport import OptimalTransportSpec

_DEEPFM = DeepFMSpec(dim=7, embedding=6, hidden=(8, 5))
DEEPFM = {
    "groups": _DEEPFM,
    "joined": replace(_DEEPFM, fields=(("card", "rfm"), ("where",))),
    "numbers": replace(_DEEPFM, fields=(("day",), ("card", "rfm"))),
    "one field": replace(_DEEPFM, fields=(("rfm",),)),
    "codes": replace(_DEEPFM, fields=(("where",),)),
    "other": replace(_DEEPFM, norm="batch", dropout=0.0, hidden=(8,)),
}

_CAUSAL = CausalSpec(dim=7, hidden=8, latents=6)
CAUSAL = {
    "none": replace(_CAUSAL, fix="none"),
    "source": replace(_CAUSAL, fix="source", groups=("card", "rfm")),
    "stable": _CAUSAL,
}

_PERSLAY = PersLaySpec(dim=8, centres=6)
PERSLAY = {
    "gaussian": _PERSLAY,
    "rational_hat": replace(
        _PERSLAY, transform="rational_hat", weight="learned", how="mean"
    ),
    "line": replace(_PERSLAY, transform="line", weight="learned"),
    "triangle": replace(_PERSLAY, transform="triangle", how="max"),
    "tent": replace(_PERSLAY, transform="tent", weight=0.5),
    "both": replace(_PERSLAY, statistics="graph", blocks=(("long", 2),)),
    "statistics": replace(_PERSLAY, statistics="graph", blocks=()),
}

_TRANSPORT = OptimalTransportSpec(dim=8, support=6, prototypes=3, iterations=7)
TRANSPORT = {
    "metric": _TRANSPORT,
    "psd": replace(_TRANSPORT, cost="psd"),
    "given": replace(_TRANSPORT, groups=("day",), support="columns"),
}

_TEMPORAL = TemporalSpec(dim=7, widths=(64, 32), gaps=("gap",))
TEMPORAL = {
    "default": _TEMPORAL,
    "mamba1": replace(_TEMPORAL, scan="mamba1"),
    "closed_form": replace(_TEMPORAL, liquid="closed_form"),
    "serial": replace(_TEMPORAL, liquid="serial"),
}

VECTORS = {
    "lightgcn": LightGCNSpec(hidden=9, dim=8, dropout=0.0),
    "hgcn": HGCNSpec(hidden=9, dim=8),
}

EVERY: dict[str, ExpertSpec] = {
    f"{kind}-{name}": spec
    for kind, specs in (
        ("deepfm", DEEPFM),
        ("causal", CAUSAL),
        ("perslay", PERSLAY),
        ("transport", TRANSPORT),
        ("temporal", TEMPORAL),
        ("vectors", VECTORS),
    )
    for name, spec in specs.items()
}
