"""Optimizers: which parameters decay, and the plain torch classes that DeepSpeed wraps."""

from typing import Any

import torch
from torch import nn

from raytrain.recipe import Optimizer


def parameter_groups(model: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """Groups "decay" and "no_decay", or "decay" alone with `decay_all`; each has name, params and weight_decay.

    Spared are 1-D parameters (norms), biases and relative_position_bias_table: microsoft/Swin-Transformer
    optimizer.py set_weight_decay and models/swin_transformer.py no_weight_decay_keywords.
    """
    decay: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        spare = parameter.ndim == 1 or name.endswith((".bias", "relative_position_bias_table"))
        (spared if spare and not optimizer.decay_all else decay).append(parameter)
    groups = [{"name": "decay", "params": decay, "weight_decay": optimizer.weight_decay}]
    if spared:
        groups.append({"name": "no_decay", "params": spared, "weight_decay": 0.0})
    return groups


def make_optimizer(model: nn.Module, optimizer: Optimizer, lr: float) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum, over the model's groups. `lr` is the plan's peak learning rate."""
    groups = parameter_groups(model, optimizer)
    if optimizer.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=optimizer.betas, eps=optimizer.eps)
    return torch.optim.SGD(groups, lr=lr, momentum=optimizer.momentum)
