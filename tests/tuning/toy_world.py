"""A made-up world whose answer is known: error is a sum of parts, each of which one change makes smaller."""

import random
from collections.abc import Callable, Sequence

from tuning.method.rows import Started
from tuning.method.state import identity
from tuning.method.target import parse_target
from tuning.method.values import Change, Check, Point, Rate, Reading, Trial

IMAGES = 1_000_000
OF = 1_000_000_000  # so many held-out images that counting adds no noise

PARTS = {"capacity": 0.0, "regularization": 0.0, "lr": 0.0, "length": 0.0, "data": 0.04}
CHANGES = (
    Change(name="wider", kind="capacity_up", settings={"model.width": 2}),
    Change(name="more drop path", kind="regularize_up", settings={"model.drop_path": 0.2}),
    Change(name="less drop path", kind="regularize_down", settings={"model.drop_path": 0.0}),
    Change(name="half", kind="half_data", data=0.5),
    Change(name="quarter", kind="quarter_data", data=0.25),
    Change(name="lr x 3", kind="lr_up", settings={"optimizer.lr": 3e-3}),
    Change(name="lr / 3", kind="lr_down", settings={"optimizer.lr": 3e-4}),
    Change(name="twice as long", kind="longer", length=2.0),
)


class ToyWorld:
    """`parts`: points of error that each shortcoming costs; the right change takes nine tenths of it away.

    `data` is what the finite data cost: a (m / images)^-1. Another change costs 0.01. `trained` counts.
    """

    def __init__(
        self, *, noise: float = 0.001, floor: float = 0.1, checks: Sequence[Check] = (), **parts: float
    ) -> None:
        self.parts, self.noise, self.floor = PARTS | parts, noise, floor
        self.preflight = tuple(checks)
        self.trained: list[Trial] = []
        self.fields: dict[str, object] = {}
        self.looks = 0
        self.offered = CHANGES

    def checks(self) -> tuple[Check, ...]:
        return self.preflight

    def changes(self, settings: dict[str, object]) -> tuple[Change, ...]:
        return tuple(
            one
            for one in self.offered
            if not one.settings or any(settings.get(k) != v for k, v in one.settings.items())
        )

    def cost(self, trial: Trial) -> float:
        change = trial.change or Change(name="", kind="longer")
        wide = 2.0 if "model.width" in trial.settings | change.settings else 1.0
        return trial.length * change.length * change.data * wide

    def error(self, trial: Trial) -> float:
        change = trial.change or Change(name="", kind="longer")
        settings, length = trial.settings | change.settings, trial.length * change.length
        parts = self.parts
        error = self.floor + parts["data"] / change.data
        error += parts["capacity"] * (0.1 if "model.width" in settings else 1.0)
        drop = settings.get("model.drop_path", 0.1)
        strength = parts["regularization"]  # above 0: too little; below: too much
        error += abs(strength) * (0.1 if (drop == 0.2) == (strength > 0) and drop != 0.1 else 1.0)
        error += 0.01 if strength == 0 and drop != 0.1 else 0.0
        lr = settings.get("optimizer.lr", 1e-3)
        error += abs(parts["lr"]) * (0.1 if lr == (3e-3 if parts["lr"] > 0 else 3e-4) else 1.0)
        error += 0.01 if parts["lr"] == 0 and lr != 1e-3 else 0.0
        error += parts["length"] / length
        return error + random.Random(str(identity(trial))).gauss(0, self.noise)

    def reading(self, trial: Trial) -> Reading:
        minival = self.error(trial)
        rate = Rate(wrong=round(minival * OF), of=OF)
        train = Rate(wrong=round(max(minival - 0.05, 0.0) * OF), of=OF)
        fields = {
            "state": "done",
            "classes": 10,
            "train_samples": round(IMAGES * (trial.change.data if trial.change else 1)),
            "train": train,
            "minival": rate,
            "initial_loss": 2.3,
            "curve": (Point(samples=IMAGES, train=None, minival=minival),),
            "steps": 1000,
            "gpu_hours": self.cost(trial),
        }
        return Reading.model_validate(fields | self.fields)

    def train(self, trials: Sequence[Trial], done: Callable[[Trial, Reading], None]) -> None:
        for trial in trials:
            self.trained.append(trial)
            done(trial, self.reading(trial))

    def look(self, trial: Trial) -> Rate:
        self.looks += 1
        return Rate(wrong=round(self.error(trial) * OF), of=OF)


def spec(**fields: object) -> Started:
    """A study of the toy: everything may be spent, half a point matters."""
    wanted = {"recipe": "toy", "target": parse_target("error<=0.01"), "budget": 1e6, "least": 0.005}
    return Started.model_validate(wanted | fields)
