"""Optimizers: the plain torch classes that DeepSpeed wraps, over the recipe's parameter groups."""

from typing import Any

import torch
from torch import nn

from raytrain.groups import parameter_groups
from raytrain.models.build import build
from raytrain.models.spec import ModelSpec
from raytrain.recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum. `lr` is the plan's peak learning rate; a group's is that times its `lr_scale`.

    A group holds name, params, lr, lr_scale and weight_decay. Both update all weights in fused kernels: on a CPU, AdamW
    takes a fifth of the time that way, and SGD two thirds. AdamW's count of steps then lies where the weights do.
    """
    optimizer, parameters = recipe.optimizer, dict(model.named_parameters())
    groups: list[dict[str, Any]] = [
        {
            "name": group.name,
            "params": [parameters[name] for name in group.parameters],
            "lr": lr * group.lr_scale,
            "lr_scale": group.lr_scale,
            "weight_decay": group.weight_decay,
        }
        for group in parameter_groups(shapes_of(model), recipe.model, optimizer)
    ]
    if optimizer.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=optimizer.betas, eps=optimizer.eps, fused=True)
    return torch.optim.SGD(groups, lr=lr, momentum=optimizer.momentum, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the step's learning rate, times the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every parameter's shape by name."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def planned_shapes(spec: ModelSpec, classes: int, image_size: int) -> dict[str, tuple[int, ...]]:
    """The same, before there is a network: it is built without its numbers, on the meta device."""
    with torch.device("meta"):
        return shapes_of(build(spec, classes, image_size, seed=None))
