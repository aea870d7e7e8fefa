"""The teacher of a distilled run: another checkpoint's answers for the images that are trained on."""

from collections.abc import Callable

import torch
from torch import Tensor

from raytrain.checkpoint import load_model
from raytrain.errors import RunError
from raytrain.manifest import rows_of, verify
from raytrain.models.build import build
from raytrain.plan import RunPlan, Teacher


def load_teacher(
    teacher: Teacher, plan: RunPlan, classes: tuple[str, ...], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """From images float [b, 3, S, S] to its logits for the data's classes, fp32 [b, classes], by WNID.

    It stays in evaluation mode and keeps nothing for a backward pass. Raises RunError where the checkpoint is not the
    one that was planned.
    """
    source = verify(teacher.checkpoint)
    if source.manifest.digest != teacher.digest:
        raise RunError(
            f"{source.url} is another teacher than the one that was planned: digest {source.manifest.digest[:12]}, "
            f"the plan says {teacher.digest[:12]}. Plan again, or put it back"
        )
    module = build(teacher.model, teacher.classes, teacher.image_size, seed=None)
    module.load_state_dict(load_model(source))
    module.requires_grad_(False).eval().to(device)
    rows = torch.tensor(rows_of(source.card.classes, classes), device=device)
    bf16 = plan.recipe.precision == "bf16"

    @torch.no_grad()
    def answer(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits: Tensor = module(images)
        return logits.float().index_select(1, rows)

    return answer
