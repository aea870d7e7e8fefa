"""Made-up recordings whose early ranks are as true as those of real trainings were, replayed with and without halving.

A recording of 48 configurations: errors at the end are spread evenly, and at each share of the training their ranks
have a given correlation with those at the end (a Gaussian copula). The correlations of two recordings are the ones of
five configurations each on ImageNet (mlcommons/algorithmic-efficiency, algorithms/baselines/logs); the curves
themselves are not. The third is one where early ranks can be trusted.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, Philox

from scenarios.curves import LENGTH
from scenarios.strategies import BATCH, RUNGS, chosen, cost, is_open, open_gate
from tuning.dimension import Choice
from tuning.search.engine import run_sweep
from tuning.search.replay import COLUMNS, ReplayExecutor, read_recording
from tuning.search.rows import Study
from tuning.space import Param, Space

CONFIGS = 48
LOWEST, HIGHEST = 0.22, 0.28  # at the end
SHARES = (0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 1.0)
CORRELATIONS = {
    "as ResNet-50": (-0.9, 0.1, 0.2, 0.2, 0.2, 0.2, 0.9, 1.0),
    "as ViT": (-0.5, 0.4, 0.7, 0.7, 0.7, 0.7, 1.0, 1.0),
    "true early": (0.93, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0, 1.0),
}
WAYS = ("halving behind the gate", "halving without the gate")


def record(file: Path, kind: str, seed: int) -> None:
    """Write the CSV, with a row wherever a rung ends."""
    draw = Generator(Philox(key=[seed, 2]))
    ends = np.linspace(LOWEST, HIGHEST, CONFIGS)[draw.permutation(CONFIGS)]
    latent, luck = _normal(ends), draw.normal(size=CONFIGS)
    lines = [",".join(COLUMNS)]
    for samples in RUNGS:
        share = samples / LENGTH
        pearson = 2 * np.sin(
            np.pi / 6 * np.interp(share, SHARES, CORRELATIONS[kind])
        )  # of Spearman's (Pearson 1907)
        mixed = pearson * latent + np.sqrt(max(0.0, 1 - pearson**2)) * luck
        errors = np.sort(ends)[mixed.argsort().argsort()] + 0.5 * (1 - share)
        lines += [f"c{number},{samples},{error!r},{samples}" for number, error in enumerate(errors.tolist())]
    rows = sorted(lines[1:], key=lambda line: int(line.split(",")[0][1:]))
    file.write_text("\n".join([lines[0], *rows]) + "\n")


def replayed(kind: str, way: str, seed: int, out: Path) -> dict[str, Any]:
    """Each configuration is a trial. `cost`: of all whole trainings; `regret`: the choice's error above the lowest."""
    out.mkdir()
    record(out / "curves.csv", kind, seed)
    held = read_recording(out / "curves.csv")
    config = Param(
        name="config", paths=("config",), role="scientific", dimension=Choice(values=tuple(held.curves))
    )
    study = Study(
        base={"recording": held.digest}, space=Space(name="curves", params=(config,), own={"config": "c0"}),
        strategy="sobol", seed=seed, batch=BATCH, objectives=("error",),
        rungs=RUNGS,
    )  # fmt: skip
    folder = out / "study"
    folder.mkdir()
    if way == WAYS[1]:
        open_gate(study, folder)
    state = run_sweep(
        study, out=folder, trials=CONFIGS, executor=nullcontext(ReplayExecutor(held)), fits=lambda _: ("", {}),
        copy=None, say=lambda _: None,
    )  # fmt: skip
    ends = {name: curve[-1].error or 1.0 for name, curve in held.curves.items()}
    tried = [ends[str(trial.asked.point["config"])] for trial in state.trials]
    found = ends[str(chosen(state)["config"])]
    return {"cost": cost(state) / len(tried), "regret": found - min(tried), "open": is_open(state)}


def _normal(values: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Normal scores: sorted normal draws in the order of the values, the same for every seed."""
    scores = np.sort(Generator(Philox(key=[0, 3])).normal(size=len(values)))
    return scores[values.argsort().argsort()]
