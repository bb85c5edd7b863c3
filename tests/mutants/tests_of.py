"""Which tests matter to a file, the closest first."""

from pathlib import Path

MODEL = ["tests/test_model.py", "tests/test_presets.py"]
ALSO = {
    "experts": ["tests/experts/test_laws.py", *MODEL],
    "gates": ["tests/test_ple.py", *MODEL],
    "objective": ["tests/test_learner.py"],
    "tasks": [*MODEL, "tests/test_model_evidential.py"],
}
ORACLES = {
    "ple_study/experts/causal": ["dag"],
    "ple_study/experts/deepfm": ["deepfm"],
    "ple_study/experts/hgcn": ["hyperbolic"],
    "ple_study/experts/lightgcn": ["lightgcn"],
    "ple_study/experts/perslay": ["perslay"],
    "ple_study/experts/temporal": ["liquid", "scan"],
    "ple_study/experts/transport": ["sinkhorn"],
    "ple_study/tasks": ["evidential"],
}
EXPORTS = "test_onnx.py"  # minutes, and no formula


def tests_of(root: Path, file: str) -> list[str]:
    """Its own tests, then those of its folder, of the model, and of its peers."""
    path = Path(file)
    folder = root / "tests" / path.parent.relative_to("ple_study")
    own = sorted(folder.glob(f"test_{path.stem}*.py"))
    rest = sorted(folder.glob("test_*.py"))
    beside = [str(p.relative_to(root)) for p in [*own, *rest] if p.name != EXPORTS]
    peers = [f"tests/oracles/test_{n}.py" for n in ORACLES.get(str(path.parent), ())]
    return list(dict.fromkeys([*beside, *ALSO[path.parts[1]], *peers]))
