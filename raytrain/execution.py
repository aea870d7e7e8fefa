"""How the same network is computed: recomputing activations, the layout of its tensors, compiled or not.

All of it leaves parameters, buffers and their names as they are, so a checkpoint neither knows nor cares, and a run
may go on with another choice.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from raytrain.recipe import Execution


def prepare(module: nn.Module, execution: Execution) -> None:
    """Make the network compute as asked, in place. A copy for an average (`Ema`) is to be made before."""
    if execution.checkpointing:
        for block in blocks(module):
            _recompute(block)
    if execution.compile:
        module.compile()


def lay_out(module: nn.Module, execution: Execution) -> None:
    """Give weights the layout of `laid_out`'s images, in place. Not to those that ZeRO 1 to 3 lay end to end."""
    if execution.channels_last:
        module.to(memory_format=torch.channels_last)


def laid_out(images: Tensor, execution: Execution) -> Tensor:
    """Images [b, 3, S, S] in the layout in which the network's convolutions are to work."""
    layout = torch.channels_last if execution.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The residual blocks: what has a drop path of its own, be it of rate 0, and is in no other block."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for part in module.modules():
        if part not in inside and any(isinstance(child, StochasticDepth) for child in part.children()):
            found.append(part)
            inside.update(part.modules())
    return found


def _recompute(block: nn.Module) -> None:
    """Keep only the block's input for the backward pass, which computes the rest again, with the same random draws."""
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    forward: Callable[[Tensor], Tensor] = block.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _unchanged([buffer for norm in norms for buffer in norm.buffers()])

    def recomputed(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(x)
        result: Tensor = checkpoint(forward, x, use_reentrant=False, context_fn=contexts)
        return result

    block.forward = recomputed


@contextmanager
def _unchanged(buffers: list[Tensor]) -> Iterator[None]:
    """BatchNorm sees each micro-batch once: a second forward pass would move its running statistics twice."""
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
