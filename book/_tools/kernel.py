"""The one environment in which notebooks run, when they are stored and when checked.

Sums of floats depend on the number of threads and on the vector width of the CPU.
Both are fixed here, and stored digits are the same on all Intel machines. MKL heeds
MKL_CBWR there alone: on AMD a long training ends a little elsewhere.
"""

import os

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}

CELL_SECONDS = 300
NOTEBOOK_SECONDS = 240


def environment(**more: str) -> dict[str, str]:
    """What a kernel is started in; this process keeps its own environment."""
    return os.environ | ENVIRONMENT | more
