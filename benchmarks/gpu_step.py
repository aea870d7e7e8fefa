"""The comparison of training steps at full size, on one GPU: `python benchmarks/run.py gpu_step`.

Needs a CUDA device, so `make bench` leaves it out. On a machine with nothing else of
raytrain's: `python benchmarks/step.py --out benchmarks/results/gpu_step.json`, and any later `run.py` tells it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import step

page = step.page


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """With this interpreter's timm and DeepSpeed, where it has them."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: nothing to measure")
    cases = step.gpu_cases(step.GPU_NETWORKS, step.GPU_BATCH)
    return step.compare(cases, Path(sys.executable), step.SECONDS["cuda"], None, scratch, say)
