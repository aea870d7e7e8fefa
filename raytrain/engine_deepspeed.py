"""The same verbs on DeepSpeed: ZeRO 0 to 3 with `torch_autocast` bf16. The only door to deepspeed.

Four of DeepSpeed's own ways are not used, on purpose (docs/LOG.md tells the measurements):
- its mean of gradients without ZeRO: raytrain/gradients.py.
- its checkpoints: they unpickle, detect no damage and refuse another world size. State is gathered by name.
- its schedulers: they flatten parameter groups. The loop sets the learning rate.
- its shared-memory all-reduce on CPUs: it compiles C++ for a minute at the first start of every machine.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
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
    load_moments,
    moment_keys,
    moments_of,
)
from raytrain.execution import lay_out
from raytrain.gradients import MeanOfGradients
from raytrain.losses import soft_cross_entropy
from raytrain.optim import set_lr
from raytrain.plan import RunPlan
from raytrain.plan.memory import BUCKET
from raytrain.zero import Piece, parted, sliced


def deepspeed_config(plan: RunPlan) -> dict[str, Any]:
    """DeepSpeed's configuration from the plan. Made here and nowhere else: it ignores misspelt keys in silence."""
    optimizer = plan.recipe.optimizer
    return {
        "train_batch_size": plan.recipe.global_batch,
        "train_micro_batch_size_per_gpu": plan.placement.micro_batch,
        "gradient_accumulation_steps": plan.placement.accumulation,
        "gradient_clipping": (optimizer.clip_norm or 0.0) if plan.placement.zero_stage else 0.0,
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
        self.stage, self.clip_norm = plan.placement.zero_stage, plan.recipe.optimizer.clip_norm
        self.plain = deepcopy(module).cpu() if self.stage == 3 else None  # before its weights are parted
        self.engine, self.zero, _, _ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_config(plan), dist_init_required=False
        )
        self.module: nn.Module = self.engine.module
        self.device: torch.device = self.engine.device
        self.gradients = MeanOfGradients(self.module) if self.stage == 0 else None
        if self.stage == 0:
            self.engine.enable_backward_allreduce = False
            lay_out(self.module, plan.recipe.execution)  # only now: DeepSpeed broadcasts weights as bytes
        self.inner: torch.optim.Optimizer = optimizer
        self.ema = ema
        self.applied = 0
        self.guard = BufferGuard(self.module)

    def forward_backward(self, images: Tensor, targets: Tensor, loss: Loss = soft_cross_entropy) -> Tensor:
        """See Engine."""
        self.guard.remember()
        last = bool(self.engine.is_gradient_accumulation_boundary())
        value = loss(self.engine(images), targets)
        with self.gradients.taken(last) if self.gradients is not None else nullcontext():
            self.engine.backward(value)
        if not last:
            self.engine.step()  # moves nothing inside a window: it counts the micro-batch
        return value.detach()

    def step(self, lr: float) -> StepResult:
        """See Engine."""
        set_lr(self.zero, lr)
        norm = self._clip() if self.stage == 0 else None
        finite = norm is None or math.isfinite(norm)
        if not finite:
            self.module.zero_grad(set_to_none=True)  # ZeRO 0 would apply them: without any, it moves nothing
        self.engine.step()
        applied = finite and bool(self.engine.was_step_applied())
        self.applied += applied
        self.guard.settle(keep=applied)
        if applied and self.ema is not None:
            self.ema.update(self.whole())
        if norm is None:
            norm = self.engine.get_global_grad_norm()
        return StepResult(
            grad_norm=float(norm) if applied and norm is not None else float("nan"), applied=applied
        )

    def save(self) -> EngineState:
        """See Engine. Each rank lays its slices of ZeRO's flat state into whole tensors of zeros; their sum is it."""
        moments = moments_of(self.module, self.inner) if self.stage == 0 else self._sum_of_slices()
        return EngineState(
            model=self.gather(), moments=moments, applied=self.applied, ema=gather_ema(self.ema)
        )

    def load(self, state: EngineState) -> None:
        """See Engine. Each rank takes its own slices."""
        with self._together(first_changes=True):
            self.module.load_state_dict(state.model)
        load_ema(self.ema, state)
        self.applied = state.applied
        if self.stage == 0:
            load_moments(self.module, self.inner, state)
            return
        self.zero.refresh_fp32_params()
        keys = moment_keys(self.inner)
        for flat in self._flats():
            self.inner.state[flat] = {key: torch.zeros_like(flat) for key in keys}
            if isinstance(self.inner, torch.optim.AdamW):
                self.inner.state[flat]["step"] = torch.tensor(float(state.applied), device=flat.device)
        for piece in self._pieces():
            for key, tensor in state.moments[piece.name].items():
                held = self.inner.state[piece.flat][key]
                piece.of_flat(held).copy_(piece.of_parameter(tensor.flatten()))

    def gather(self) -> dict[str, Tensor]:
        """See Engine."""
        average_buffers(self.module)
        with self._together():
            return cpu_copy(self.module.state_dict())

    def whole(self) -> nn.Module:
        """See Engine."""
        if self.plain is None:
            return self.module
        with self._together():
            self.plain.load_state_dict(self.module.state_dict())
        return deepcopy(self.plain).to(self.device)

    def _together(self, first_changes: bool = False) -> AbstractContextManager[Any]:
        """Have parted weights whole on every rank; `first_changes` spreads what rank 0 makes of them."""
        if self.stage < 3:
            return nullcontext()
        gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(
            list(self.module.parameters()), modifier_rank=0 if first_changes else None
        )
        return gathered

    def _sum_of_slices(self) -> dict[str, dict[str, Tensor]]:
        """One sum per moment, of all parameters end to end: a sum for each takes several times as long."""
        shapes, pieces = self._shapes(), self._pieces()
        lengths = [shape.numel() for shape in shapes.values()]
        moments: dict[str, dict[str, Tensor]] = {name: {} for name in shapes}
        for key in moment_keys(self.inner):
            flat = torch.zeros(sum(lengths), device=self.device)
            whole = dict(zip(shapes, torch.split(flat, lengths), strict=True))
            for piece in pieces:
                held = self.inner.state.get(piece.flat, {})
                if key in held:
                    piece.of_parameter(whole[piece.name]).copy_(piece.of_flat(held[key]))
            dist.all_reduce(flat)
            for name, part in cpu_copy(whole).items():
                moments[name][key] = part.reshape(shapes[name])
        return moments

    def _shapes(self) -> dict[str, torch.Size]:
        """The whole parameters' shapes: ZeRO 3 leaves them empty, and hangs the shape on them."""
        return {name: getattr(held, "ds_shape", held.shape) for name, held in self.module.named_parameters()}

    def _flats(self) -> list[Tensor]:
        """The rank's parts of all parameters, as the optimizer has them."""
        flats: list[Tensor] = (
            self.zero.fp32_partitioned_groups_flat
            if self.stage == 3
            else self.zero.single_partition_of_fp32_groups
        )
        return flats

    def _pieces(self) -> list[Piece]:
        named = list(self.module.named_parameters())
        if self.stage == 3:
            return parted(named, self.zero, self._flats(), dist.get_rank())
        return sliced(named, self._flats())

    def _clip(self) -> float:
        """Clip the gradient; its norm. At ZeRO 0 DeepSpeed tells none, and cannot clip where gradients are missing."""
        limit = self.clip_norm if self.clip_norm is not None else float("inf")
        return float(nn.utils.clip_grad_norm_(self.module.parameters(), limit))
