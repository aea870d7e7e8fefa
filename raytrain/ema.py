"""Ema: a running average of the weights, evaluated and saved beside them.

It is whole, fp32, on every rank. At ZeRO 1 and 2 every rank has all weights after a step, so every rank computes the
same average without a message, for 4 bytes per parameter; a sharded one would save those and cost a gather per
evaluation.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn


class Ema:
    """average += (1 - decay) x (weight - average) after each step that moved the weights, from the first weights on.

    Floating buffers (BatchNorm's running statistics) are averaged like weights (timm/utils/model_ema.py, ModelEmaV2,
    averages the whole state dict). There is no warm-up of the decay: a run should be many times 1 / (1 - decay) steps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the weights that a step has just made."""
        now, average = module.state_dict(), self.module.state_dict()
        moving = [key for key, tensor in average.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([average[key] for key in moving], [now[key] for key in moving], 1 - self.decay)
        for key in average.keys() - set(moving):
            average[key].copy_(now[key])

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a saved average."""
        self.module.load_state_dict(state)
