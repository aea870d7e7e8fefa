"""The mean of gradients over ranks that hold whole weights, taken while the backward pass still makes the next ones.

Neither of the ready-made ones will do. torch's DDP lays its buckets anew after a process's first step, and where a
number lies in its bucket decides in which order three and more ranks are added up: a run that went on from a
checkpoint ended in other last bits than one that was never stopped. DeepSpeed's, without ZeRO, begins when the backward
pass has ended, and copies all gradients twice, even for a single rank. Here the buckets follow from the network alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raytrain.plan.memory import BUCKET_BYTES


class MeanOfGradients:
    """Of one network's parameters; a rank alone has it already."""

    def __init__(self, module: nn.Module) -> None:
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.buckets = buckets([*module.parameters()]) if self.world > 1 else []
        names = {parameter: name for name, parameter in module.named_parameters()}
        self.names = [[names[parameter] for parameter in bucket] for bucket in self.buckets]
        self.missing: list[set[str]] = []
        self.sent: list[dist.Work] = []
        for number, bucket in enumerate(self.buckets):
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    partial(self._arrived, number, names[parameter])
                )

    @contextmanager
    def taken(self, last: bool) -> Iterator[None]:
        """Around the backward pass of a micro-batch: after a window's `last` one every rank has the mean."""
        self.missing = [{*names} for names in self.names] if last else []
        self.sent = []
        yield
        assert not any(self.missing), f"no part in the loss: {sorted(set().union(*self.missing))}"
        for work in self.sent:
            work.wait()
        self.missing = []

    def _arrived(self, number: int, name: str, _parameter: Tensor) -> None:
        """Send what is complete, on every rank in the same order: whoever is ready first waits for those before."""
        if not self.missing:
            return
        self.missing[number].discard(name)
        while len(self.sent) < len(self.buckets) and not self.missing[len(self.sent)]:
            flat = in_one_piece(self.buckets[len(self.sent)]).div_(self.world)
            work = dist.all_reduce(flat, async_op=True)
            assert work is not None
            self.sent.append(work)


def buckets(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """All of them, the last ones first, as backward passes come to them. What is larger than a bucket has its own."""
    found: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed(parameters):
        room -= parameter.nbytes
        if room < 0:
            found.append([])
            room = BUCKET_BYTES - parameter.nbytes
        found[-1].append(parameter)
    return found


def in_one_piece(bucket: list[nn.Parameter]) -> Tensor:
    """The bucket's gradients end to end, in the order of memory; from then on they are views of it."""
    grads = [grad for parameter in bucket if (grad := parameter.grad) is not None]
    if len(grads) == 1:
        return grads[0].as_strided((grads[0].numel(),), (1,))
    flat = torch.empty(sum(grad.numel() for grad in grads), dtype=grads[0].dtype, device=grads[0].device)
    parts = torch.split(flat, [grad.numel() for grad in grads])
    views = [part.as_strided(grad.shape, grad.stride()) for part, grad in zip(parts, grads, strict=True)]
    torch._foreach_copy_(views, grads)
    for parameter, view in zip(bucket, views, strict=True):
        parameter.grad = view
    return flat


def share(module: nn.Module) -> None:
    """Give every rank the first one's weights and buffers: random numbers may differ between processors."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    for tensor in module.state_dict().values():
        plain = tensor.contiguous()
        dist.broadcast(plain, 0)
        tensor.copy_(plain)
