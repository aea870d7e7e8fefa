"""What fills each parameter when a network is built: recorded, not listed."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytrain.models.build import build
from raytrain.models.spec import Spec

FILLS = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]


class Fill:
    """The last call that filled a tensor, as text, and what it held then; None on the meta device."""

    def __init__(self, tensor: Tensor, call: str) -> None:
        self.tensor = tensor  # kept, so that no other tensor takes its id
        self.call = call
        self.values = None if tensor.is_meta else tensor.detach().clone()


def initialisers(
    spec: Spec, classes: int, side: int, device: str = "meta"
) -> tuple[nn.Module, dict[str, Fill]]:
    """The network, and the fill of each parameter by name. KeyError for one that nothing of torch.nn.init filled."""
    filled: dict[int, Fill] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in FILLS:
            patch.setattr(nn.init, name, _recording(name, getattr(nn.init, name), filled))
        with torch.device(device):
            module = build(spec, classes, side, seed=None if device == "meta" else 0)
    return module, {name: filled[id(parameter)] for name, parameter in module.named_parameters()}


def _recording(name: str, plain: Callable[..., Tensor], filled: dict[int, Fill]) -> Callable[..., Tensor]:
    signature = inspect.signature(plain)

    def fill(tensor: Tensor, *given: Any, **named: Any) -> Tensor:
        if not tensor.is_meta:
            plain(tensor, *given, **named)
        arguments = list(signature.bind(tensor, *given, **named).arguments.items())[1:]
        words = [f"{key}={f'{value:.4g}' if isinstance(value, float) else value}" for key, value in arguments]
        filled[id(tensor)] = Fill(tensor, name.rstrip("_") + f"({', '.join(words)})" * bool(words))
        return tensor

    return fill
