"""Which network a state dict is of, told by its tensors' names and shapes."""

from functools import cache

import torch
from torch import Tensor

from raytrain.models.arithmetic import parameters
from raytrain.models.build import build
from raytrain.models.named import named_specs
from raytrain.models.spec import Spec, SwinSpec
from raytrain.weights.windows import INDEX, TABLE, window_of

ENOUGH = 0.9
"""The share of tensors that a network has in common with what is said to be like it."""

SIZE_RANGE = 0.2
"""Only networks that are so near in size are made and compared: of all together it would take seconds."""

HEADS = ("head.weight", "head.bias", "fc.weight", "fc.bias")
DEPENDS = (INDEX, TABLE, "pos_embedding", "num_batches_tracked", *HEADS)
"""What depends on classes, on the window, on the size of the picture, or on the age of the file."""


def likeness(state: dict[str, Tensor]) -> str | None:
    """The named network that has most of these tensors, e.g. "swin_b with window 12"; None where none has 90 %."""
    shapes = _shapes(state)
    learned = sum(tensor.numel() for name, tensor in state.items() if not name.endswith(DEPENDS))
    near = [name for name in named_specs() if abs(_size(name) / max(1, learned) - 1) < SIZE_RANGE]
    shares = {name: _share(shapes, _shapes(_made(name).state_dict())) for name in near}
    best = max(near, key=lambda name: shares[name], default=None)
    if best is None or shares[best] < ENOUGH:
        return None
    windows = {window_of(tensor) for name, tensor in state.items() if name.endswith(TABLE)}
    return f"{best} with window {windows.pop()}" if len(windows) == 1 else best


def _shapes(state: dict[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(tensor.shape)) for name, tensor in state.items() if not name.endswith(DEPENDS)}


def _share(found: set[tuple[str, tuple[int, ...]]], wanted: set[tuple[str, tuple[int, ...]]]) -> float:
    return len(found & wanted) / max(len(found), len(wanted))


@cache
def _size(name: str) -> int:
    spec = named_specs()[name]
    return parameters(spec, 1, _image_size(spec))


def _made(name: str) -> torch.nn.Module:
    spec = named_specs()[name]
    with torch.device("meta"):
        return build(spec, 1, _image_size(spec), seed=None)


def _image_size(spec: Spec) -> int:
    """Any that the network takes."""
    return spec.stride * spec.window if isinstance(spec, SwinSpec) else 224
