"""ZeRO's stages: which of them a plan may choose from."""

from raytrain.errors import UsageError
from raytrain.plan.values import EngineName, Stage


def allowed_stages(engine: EngineName, asked: Stage | None = None) -> tuple[Stage, ...]:
    """In the order of choice: each makes a step slower than the one before, and splits more among the workers.

    Stage 3 is for networks too large for one worker. None of ours is, so it has to be asked for. Raises UsageError
    where the plain engine is asked for what it does not have.
    """
    if engine == "torch":
        if asked:
            raise UsageError(
                f"--zero {asked}: --engine torch has no ZeRO; use --engine deepspeed, or leave it out"
            )
        return (0,)
    return (0, 1, 2) if asked is None else (asked,)
