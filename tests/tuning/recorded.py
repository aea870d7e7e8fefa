"""Made-up recordings and studies on them."""

import math
from pathlib import Path

from numpy.random import Generator, Philox

from tuning.dimension import Choice
from tuning.search.replay import ReplayExecutor, read_recording
from tuning.search.rows import Study
from tuning.space import Param, Space

LENGTH, STEPS = 1024, 16


def curve(family: str, quality: float, at: float) -> float:
    """The error of a configuration at a share of its training.

    monotone: who is better is better all along. crossing: the better it ends, the later it falls, as with a high
    learning rate that decays at the end.
    """
    if family == "monotone":
        return quality + 0.4 * math.exp(-4 * at)
    return quality + (1.2 - 3 * quality) * (1 - at)


def recording(file: Path, family: str, configs: int = 64, seed: int = 0) -> Path:
    """A CSV of curves: errors at the end are spread over 0.1 to 0.4. Each training takes 16 seconds."""
    ends = Generator(Philox(key=[seed, 0])).uniform(0.1, 0.4, configs)
    lines = ["config,samples,error,seconds"]
    for number, quality in enumerate(ends):
        for step in range(1, STEPS + 1):
            error = curve(family, float(quality), step / STEPS)
            lines.append(f"c{number},{step * LENGTH // STEPS},{error!r},{step}")
    file.write_text("\n".join(lines) + "\n")
    return file


def study(held, rungs, *, batch=4, seed=0) -> Study:
    """Trial 0 is the first configuration; then Sobol takes the values of a scientific choice by turns: each once."""
    param = Param(
        name="config", paths=("config",), role="scientific", dimension=Choice(values=tuple(held.curves))
    )
    space = Space(name="curves", params=(param,), own={"config": next(iter(held.curves))})
    return Study(
        base={"recording": held.digest}, space=space,
        strategy="sobol", seed=seed, batch=batch, objectives=("error",), rungs=rungs,
    )  # fmt: skip


def fit(_):
    return "", {}


__all__ = ["LENGTH", "ReplayExecutor", "fit", "read_recording", "recording", "study"]
