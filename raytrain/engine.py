"""The engine: six verbs over model, optimizer and ranks, and its plain-torch twin.

An EngineState is the same whatever the engine, the ZeRO stage and the number of ranks: whole tensors by
parameter name. So a checkpoint of one engine continues in the other, on any number of workers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raytrain.ema import Ema
from raytrain.gradients import MeanOfGradients, share
from raytrain.losses import soft_cross_entropy
from raytrain.optim import set_lr

Loss = Callable[[Tensor, Tensor], Tensor]
UPDATE_EVERY = 10  # steps from one update whose size is measured to the next: the weights are copied for it


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One optimizer step: the gradient's norm before clipping, and whether the weights moved."""

    grad_norm: float
    applied: bool


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """Whole fp32 tensors on the CPU. `model`: parameters and buffers; `moments[name]`: optimizer state by key.

    `applied` counts the steps that moved the weights: Adam's bias correction needs it. `ema` is the average of
    `model` over steps, None where the recipe has none.
    """

    model: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    applied: int
    ema: dict[str, Tensor] | None = None


class Engine(Protocol):
    """What the loop may do with a model in training."""

    module: nn.Module
    device: torch.device
    ema: Ema | None

    def forward_backward(self, images: Tensor, targets: Tensor, loss: Loss = soft_cross_entropy) -> Tensor:
        """One micro-batch: images float [b,3,S,S], targets float [b,classes]. Returns the detached loss, a scalar.

        `loss` makes it of logits and targets, both [b,classes]. A window's last one leaves the mean over all ranks.
        """
        ...

    def step(self, lr: float) -> StepResult:
        """Close an accumulation window: clip, update with `lr`; a non-finite gradient moves nothing."""
        ...

    def save(self) -> EngineState:
        """All state, gathered; every rank must call, every rank gets it.

        Averages BatchNorm's running statistics in place, so runs that save at other steps (after a polite stop,
        say) agree in every parameter but may differ in the last bits of those statistics.
        """
        ...

    def load(self, state: EngineState) -> None:
        """Continue from a state, saved on any number of ranks."""
        ...

    def gather(self) -> dict[str, Tensor]:
        """The weights alone, fp32 on the CPU, with buffers averaged over ranks; every rank must call."""
        ...

    def whole(self) -> nn.Module:
        """A network with all weights on this rank, to be evaluated and looked at; every rank must call.

        It is `module`, but at ZeRO 3, where it is a copy of this moment.
        """
        ...


def weights_of(module: nn.Module) -> list[Tensor]:
    """Copies of all parameters, where they are."""
    return [parameter.detach().clone() for parameter in module.parameters()]


def update_ratio(before: list[Tensor], module: nn.Module) -> float:
    """|update| / |weights|, both over all parameters: what a step did to the weights `before` it.

    `module` holds whole parameters, as `Engine.whole` gives it.
    """
    moved = torch._foreach_sub([parameter.detach() for parameter in module.parameters()], before)
    sizes = [torch.stack(torch._foreach_norm(tensors)).norm() for tensors in (moved, before)]
    return float(sizes[0] / sizes[1])


def average_buffers(module: nn.Module) -> None:
    """Make floating buffers (BatchNorm's running statistics) the mean over ranks, in place: in both engines.

    A rank normalizes by its own micro-batch, as the published recipes do; nothing keeps the running statistics
    equal, and a checkpoint holds only one copy. So they are averaged wherever one network is wanted of all ranks:
    before an evaluation and a checkpoint (timm/utils/distributed.py, distribute_bn). SyncBN would cost two
    collectives per norm and step, and torch's refuses CPU tensors.
    In fp64 the mean of equal numbers is that number: what is loaded on three ranks is saved as it was.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    # one sum for all: hundreds of small ones wait for each other
    total = torch.cat([buffer.double().flatten() for buffer in buffers])
    dist.all_reduce(total)
    means = torch.split(total / dist.get_world_size(), [buffer.numel() for buffer in buffers])
    for buffer, mean in zip(buffers, means, strict=True):
        buffer.copy_(mean.view_as(buffer))


class BufferGuard:
    """Remembers BatchNorm's buffers at the start of a step. A NaN in one image reaches the running statistics in
    the forward pass, where no skipped optimizer step can undo it; `settle` can.
    """

    def __init__(self, module: nn.Module) -> None:
        norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.before: list[Tensor] = []

    def remember(self) -> None:
        """Copy the buffers, once per step: later micro-batches of it change nothing."""
        if not self.before:
            self.before = [buffer.clone() for buffer in self.buffers]

    def settle(self, keep: bool) -> None:
        """End the step: keep the buffers as they are, or put the remembered ones back."""
        if not keep:
            for buffer, before in zip(self.buffers, self.before, strict=True):
                buffer.copy_(before)
        self.before = []


def cpu_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Detached copies on the CPU, so that a later step cannot change what is being saved, in the plain layout."""
    plain = torch.contiguous_format
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=plain) for name, tensor in tensors.items()
    }


def gather_ema(ema: Ema | None) -> dict[str, Tensor] | None:
    """The average's weights as `Engine.gather` gives the weights; every rank must call."""
    if ema is None:
        return None
    average_buffers(ema.module)
    return cpu_copy(ema.module.state_dict())


def load_ema(ema: Ema | None, state: EngineState) -> None:
    """Go on with the average of a saved state, where both have one."""
    if ema is not None and state.ema is not None:
        ema.load(state.ema)


def moments_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The moments of an optimizer that has whole parameters, as `EngineState` holds them."""
    keys, moments = moment_keys(optimizer), {}
    for name, parameter in module.named_parameters():
        held = optimizer.state.get(parameter, {})
        moments[name] = cpu_copy({key: held.get(key, torch.zeros_like(parameter)) for key in keys})
    return moments


def load_moments(module: nn.Module, optimizer: torch.optim.Optimizer, state: EngineState) -> None:
    """Give them back."""
    for name, parameter in module.named_parameters():
        held = {key: torch.empty_like(parameter).copy_(tensor) for key, tensor in state.moments[name].items()}
        if isinstance(optimizer, torch.optim.AdamW):
            held["step"] = torch.tensor(float(state.applied), device=parameter.device)
        optimizer.state[parameter] = held


def moment_keys(optimizer: torch.optim.Optimizer) -> list[str]:
    """The tensors an optimizer keeps per parameter; zeros stand for those of a parameter that never moved."""
    if isinstance(optimizer, torch.optim.AdamW):
        return ["exp_avg", "exp_avg_sq"]
    return ["momentum_buffer"] if optimizer.defaults["momentum"] else []


class TorchEngine:
    """The plain twin: torch.autocast, the same optimizer. The reference for what DeepSpeed must compute."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        accumulation: int,
        clip_norm: float | None,
        bf16: bool,
        ema: Ema | None = None,
    ) -> None:
        self.module = module.to(device)
        self.device = device
        self.optimizer = optimizer
        self.accumulation = accumulation
        self.clip_norm = clip_norm
        self.bf16 = bf16
        self.ema = ema
        self.applied = 0
        self.micro_step = 0
        self.guard = BufferGuard(self.module)
        share(self.module)
        self.gradients = MeanOfGradients(self.module)

    def forward_backward(self, images: Tensor, targets: Tensor, loss: Loss = soft_cross_entropy) -> Tensor:
        """See Engine. Gradients are reduced only at the last micro-batch of a window."""
        self.guard.remember()
        self.micro_step += 1
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.module(images)
        value = loss(logits, targets)
        with self.gradients.taken(last=self.micro_step % self.accumulation == 0):
            (value / self.accumulation).backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def step(self, lr: float) -> StepResult:
        """See Engine."""
        limit = self.clip_norm if self.clip_norm is not None else float("inf")
        norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), limit))
        applied = math.isfinite(norm)
        if applied:
            set_lr(self.optimizer, lr)
            self.optimizer.step()
            self.applied += 1
        self.guard.settle(keep=applied)
        if applied and self.ema is not None:
            self.ema.update(self.module)
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(grad_norm=norm, applied=applied)

    def save(self) -> EngineState:
        """See Engine."""
        moments = moments_of(self.module, self.optimizer)
        return EngineState(
            model=self.gather(), moments=moments, applied=self.applied, ema=gather_ema(self.ema)
        )

    def load(self, state: EngineState) -> None:
        """See Engine."""
        self.module.load_state_dict(state.model)
        load_ema(self.ema, state)
        self.applied = state.applied
        load_moments(self.module, self.optimizer, state)

    def gather(self) -> dict[str, Tensor]:
        """See Engine."""
        average_buffers(self.module)
        return cpu_copy(self.module.state_dict())

    def whole(self) -> nn.Module:
        """See Engine."""
        return self.module
