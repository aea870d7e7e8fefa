"""The same five verbs on DeepSpeed: ZeRO 1 and 2 with `torch_autocast` bf16. The only door to deepspeed.

Three of DeepSpeed's own ways are not used, on purpose (docs/LOG.md tells the measurements):
- its checkpoints: they unpickle, detect no damage and refuse another world size. State is gathered by name.
- its schedulers: they flatten parameter groups. The loop sets the learning rate.
- its shared-memory all-reduce on CPUs: it compiles C++ for a minute at the first start of every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from torch import Tensor, nn

from raytrain.ema import Ema
from raytrain.engine import (
    BufferGuard,
    EngineState,
    Loss,
    StepResult,
    average_buffers,
    cpu_copy,
    gather_ema,
    load_ema,
    moment_keys,
)
from raytrain.losses import soft_cross_entropy
from raytrain.optim import set_lr
from raytrain.plan import RunPlan
from raytrain.plan.memory import BUCKET


def deepspeed_config(plan: RunPlan) -> dict[str, Any]:
    """DeepSpeed's configuration from the plan. Made here and nowhere else: it ignores misspelt keys in silence."""
    optimizer = plan.recipe.optimizer
    return {
        "train_batch_size": plan.recipe.global_batch,
        "train_micro_batch_size_per_gpu": plan.placement.micro_batch,
        "gradient_accumulation_steps": plan.placement.accumulation,
        "gradient_clipping": optimizer.clip_norm or 0.0,
        "zero_optimization": {
            "stage": plan.placement.zero_stage,
            "reduce_bucket_size": min(BUCKET, plan.estimates.parameters),
        },
        "zero_allow_untested_optimizer": True,  # SGD is "untested" to ZeRO
        "torch_autocast": {"enabled": plan.recipe.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,
    }


class DeepSpeedEngine:
    """See `raytrain.engine.Engine`."""

    def __init__(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, plan: RunPlan, ema: Ema | None = None
    ) -> None:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.engine, self.zero, _, _ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_config(plan), dist_init_required=False
        )
        self.module: nn.Module = self.engine.module
        self.device: torch.device = self.engine.device
        self.inner: torch.optim.Optimizer = optimizer
        self.ema = ema
        self.applied = 0
        self.guard = BufferGuard(self.module)

    def forward_backward(self, images: Tensor, targets: Tensor, loss: Loss = soft_cross_entropy) -> Tensor:
        """See Engine."""
        self.guard.remember()
        value = loss(self.engine(images), targets)
        self.engine.backward(value)
        if not self.engine.is_gradient_accumulation_boundary():
            self.engine.step()  # moves nothing inside a window: it counts the micro-batch
        return value.detach()

    def step(self, lr: float) -> StepResult:
        """See Engine."""
        set_lr(self.zero, lr)
        self.engine.step()
        applied = bool(self.engine.was_step_applied())
        self.applied += applied
        self.guard.settle(keep=applied)
        if applied and self.ema is not None:
            self.ema.update(self.module)
        norm = self.engine.get_global_grad_norm()
        return StepResult(
            grad_norm=float(norm) if applied and norm is not None else float("nan"), applied=applied
        )

    def save(self) -> EngineState:
        """See Engine. Each rank lays its slices of ZeRO's flat state into whole tensors of zeros; their sum is it."""
        keys = moment_keys(self.inner)
        whole = {
            name: {key: torch.zeros_like(parameter, dtype=torch.float32).flatten() for key in keys}
            for name, parameter in self.module.named_parameters()
        }
        for piece in self._pieces():
            for key in keys:
                held = self.inner.state.get(piece.flat, {})
                if key in held:
                    piece.of_parameter(whole[piece.name][key]).copy_(piece.of_flat(held[key]))
        moments: dict[str, dict[str, Tensor]] = {}
        for name, parameter in self.module.named_parameters():
            for tensor in whole[name].values():
                dist.all_reduce(tensor)
            moments[name] = cpu_copy({key: whole[name][key].reshape(parameter.shape) for key in keys})
        return EngineState(
            model=self.gather(), moments=moments, applied=self.applied, ema=gather_ema(self.ema)
        )

    def load(self, state: EngineState) -> None:
        """See Engine. Each rank takes its own slices."""
        self.module.load_state_dict(state.model)
        self.zero.refresh_fp32_params()
        load_ema(self.ema, state)
        self.applied = state.applied
        keys = moment_keys(self.inner)
        for flat in self.zero.single_partition_of_fp32_groups:
            self.inner.state[flat] = {key: torch.zeros_like(flat) for key in keys}
            if isinstance(self.inner, torch.optim.AdamW):
                self.inner.state[flat]["step"] = torch.tensor(float(state.applied), device=flat.device)
        for piece in self._pieces():
            for key, tensor in state.moments[piece.name].items():
                held = self.inner.state[piece.flat][key]
                piece.of_flat(held).copy_(piece.of_parameter(tensor.flatten()))

    def _pieces(self) -> Iterator["Piece"]:
        """Where this rank's part of each parameter lies in ZeRO's flat tensors."""
        for name, parameter in self.module.named_parameters():
            mapping = getattr(parameter, "_hp_mapping")  # noqa: B009 -- ZeRO hangs it on the parameter
            if mapping is None:
                continue
            here, there = mapping.lp_fragment_address, mapping.get_hp_fragment_address()
            yield Piece(
                name=name,
                flat=self.zero.single_partition_of_fp32_groups[mapping.param_group_index],
                parameter_start=here.start,
                flat_start=there.start,
                numel=here.numel,
            )

    def gather(self) -> dict[str, Tensor]:
        """See Engine."""
        average_buffers(self.module)
        return cpu_copy(self.module.state_dict())


@dataclass(frozen=True, kw_only=True)
class Piece:
    """`numel` elements of a parameter that this rank's optimizer owns."""

    name: str
    flat: Tensor
    parameter_start: int
    flat_start: int
    numel: int

    def of_parameter(self, flattened: Tensor) -> Tensor:
        """The piece within the flattened parameter."""
        return flattened.narrow(0, self.parameter_start, self.numel)

    def of_flat(self, flat: Tensor) -> Tensor:
        """The piece within ZeRO's flat tensor."""
        return flat.narrow(0, self.flat_start, self.numel)
