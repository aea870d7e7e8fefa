"""Real recipes on real machines, as the world that the methodology acts in: every trial is an ordinary run.

    <study>/trials/NNN/    a run's folder; which trial it is, its plan says

Trials are evaluated on the split minival, and at the end on the recipe's own held-out split: each look at that is
counted, so it is none of their business.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from data_shards.mix import held_out, load_data
from data_shards.shardset import ShardSet, Split
from data_shards.training import first_shards
from raytrain.errors import RunError, UsageError
from raytrain.plan import RunPlan
from raytrain.runlog import PLAN, read_plan
from raytrain.settings import change
from tuning.dimension import Settings
from tuning.method.changes import changes_of, stretched
from tuning.method.cost import Costs
from tuning.method.measured import check_clean, check_minival, differing, measured
from tuning.method.reading import reading_of
from tuning.method.values import Change, Check, Rate, Reading, Trial
from tuning.search.rows import RETRIES
from tuning.search.training import Training, trial_plan
from tuning.search.values import Executor, RungJob, RungResult
from tuning.spaces.prior import regime

TRIALS, SHARE = "trials", "train_fraction"


class RecipeWorld:
    """The world of one plan, on its data and machines. See `tuning.method.world.World`.

    base        the plan as `raytrain train` resolves it, on which machines, on which data; here, as it is measured
    looked_at   the split that the recipe itself is evaluated on
    executor    what trains the changes of such a base
    clean       the URL of the same set with cleaned labels, where there is one
    """

    def __init__(
        self,
        base: Training,
        *,
        executor: Callable[[Training], Executor],
        clean: str | None = None,
        say: Callable[[str], None],
    ) -> None:
        """Raises UsageError where the data has no minival, or the recipe cannot be stretched."""
        self.executor, self.say = executor, say
        self.study, recipe = Path(base.study), base.plan.recipe
        there = load_data(base.data_url)
        _, held = held_out(base.data_url, there)
        images = check_minival(held, base.data_url)
        if recipe.progressive:
            raise UsageError(
                "progressive: its stages are not stretched with the run, so trials of other lengths would be other "
                "recipes; --set progressive=[]"
            )
        if clean is not None:
            check_clean(there.classes, clean)
        self.looked_at = recipe.eval_split
        self.recipe = measured(recipe, images)
        plan = trial_plan(base, differing(recipe, self.recipe))
        self.base = base.model_copy(update={"plan": plan})
        self.clean = self.base.model_copy(update={"data_url": clean}) if clean is not None else None
        self.train_split: Split | None = (
            there.split(recipe.train_split) if isinstance(there, ShardSet) else None
        )
        self.plans: dict[str, RunPlan] = {}
        self.unfit = set[str]()
        self.costs = Costs(self.study, self.study / TRIALS, plan, base.data_url, base.fleet, say)

    def checks(self) -> tuple[Check, ...]:
        """The preflight (tuning/method/preflight.py), on the recipe's own data, here."""
        from tuning.method.preflight import preflight

        base = self.base
        return preflight(base.plan, base.data_url, base.fleet, looked_at_last=self.looked_at, say=self.say)

    def changes(self, settings: Settings) -> tuple[Change, ...]:
        """One of each kind that fits the network, the data and the machines."""
        offered = changes_of(
            change(self.recipe, settings),
            self.train_split,
            regime(self.base.plan.data.train_samples, fine_tune=self.base.plan.init is not None),
            larger_fits=self.base.plan.init is None,
            clean=self.clean is not None,
        )
        return tuple(one for one in offered if self._fits(Trial(settings=settings, change=one, seed=0)))

    def _fits(self, trial: Trial) -> bool:
        try:
            self.plan(trial)
        except UsageError as error:
            if str(error) not in self.unfit:
                self.say(f"not tried: {trial.change.name if trial.change else 'the recipe'}: {error}")
            self.unfit.add(str(error))
            return False
        return True

    def plan(self, trial: Trial) -> RunPlan:
        """The trial's run, resolved. Raises UsageError where it does not fit."""
        key = trial.model_dump_json()
        if key not in self.plans:
            self.plans[key] = trial_plan(self._base(trial), self.settings(trial))
        return self.plans[key]

    def settings(self, trial: Trial) -> Settings:
        """All that the trial sets in the recipe as it is measured."""
        made, length = trial.change, trial.length
        recipe = change(self.recipe, {**trial.settings, **(made.settings if made else {})})
        if made is not None:
            length *= made.length
            recipe = change(recipe, {SHARE: self._share(recipe.train_fraction, made.data)})
        seeded = {"seed": recipe.seed + trial.seed}
        return differing(self.recipe, change(recipe, {**stretched(recipe, length), **seeded}))

    def _share(self, now: float, data: float) -> float:
        """The fraction that gives, of those that whole shards can, the nearest to `data` of the images of now."""
        if data == 1 or self.train_split is None:
            return now
        wanted, count = data * first_shards(self.train_split, now).samples, len(self.train_split.shards)
        shares = [shards / count for shards in range(1, count + 1)]
        return min(shares, key=lambda share: abs(self._samples(share) - wanted))

    def _samples(self, share: float) -> int:
        assert self.train_split is not None
        return first_shards(self.train_split, share).samples

    def cost(self, trial: Trial) -> float:
        """See tuning/method/cost.py. Raises UsageError where there are GPUs and nothing says how fast they are."""
        return self.costs.of(self.plan(trial))

    def train(self, trials: Sequence[Trial], done: Callable[[Trial, Reading], None]) -> None:
        """Train those that have no finished run yet; `done` is called as each ends."""
        for clean in (False, True):
            chosen = [trial for trial in trials if wants_clean(trial) == clean]
            if chosen:
                self._train(self._base(chosen[0]), chosen, done)

    def _train(
        self,
        base: Training,
        trials: Sequence[Trial],
        done: Callable[[Trial, Reading], None],
        attempt: int = 0,
    ) -> None:
        """A trial whose worker died goes on from its newest checkpoint, up to `RETRIES` times."""
        jobs: dict[int, Trial] = {}
        for trial in trials:
            number, plan = self.number(trial, taken=jobs), self.plan(trial)
            reading = reading_of(plan, self.folder(number))
            if reading.state == "done":  # a kill came between its end and its row
                done(trial, reading)
            else:
                jobs[number] = trial

        again: list[Trial] = []

        def ended(job: RungJob, result: RungResult) -> None:
            trial = jobs[job.trial]
            if result.state == "failed" and attempt < RETRIES:
                self.say(f"trial {job.trial:03d} failed, and is tried again: {result.problem}")
                again.append(trial)
                return
            done(trial, reading_of(self.plan(trial), self.folder(job.trial), result))

        asked = [
            RungJob(
                trial=number,
                rung=0,
                changes=self.settings(trial),
                samples=self.plan(trial).lengths.steps * self.plan(trial).recipe.samples_per_step,
                folder=str(self.folder(number).relative_to(self.study)),
                attempt=attempt,
            )
            for number, trial in jobs.items()
        ]
        if asked:
            self.executor(base).run(asked, ended)
        if again:
            self._train(base, again, done, attempt + 1)

    def _base(self, trial: Trial) -> Training:
        """What the trial's settings are changes of."""
        if not wants_clean(trial):
            return self.base
        assert self.clean is not None, "the change was not offered"
        return self.clean

    def folder(self, number: int) -> Path:
        """A trial's run."""
        return self.study / TRIALS / f"{number:03d}"

    def number(self, trial: Trial, taken: dict[int, Trial] | None = None) -> int:
        """The trial's: of the run there that has its plan, else the next free one."""
        wanted = self.plan(trial).hash
        used = dict.fromkeys(taken or {})
        for folder in sorted((self.study / TRIALS).glob("[0-9]*")):
            if (folder / PLAN).exists():
                if read_plan(folder).hash == wanted:
                    return int(folder.name)
                used[int(folder.name)] = None
        return max(used, default=-1) + 1

    def look(self, trial: Trial) -> Rate:
        """The final weights on the recipe's own held-out split. Raises RunError where the trial has no run."""
        from raytrain.offline import evaluate_checkpoint

        folder = self.folder(self.number(trial))
        if not (folder / PLAN).exists():
            raise RunError(f"{self.study}: the run of this trial is gone, so nothing can be looked at")
        found = evaluate_checkpoint(
            str(folder), self._base(trial).data_url, split=self.looked_at, image_size=None, say=self.say
        )
        return Rate(wrong=round((1 - found.top1) * found.samples), of=found.samples)


def wants_clean(trial: Trial) -> bool:
    """Whether it trains on cleaned labels."""
    return trial.change is not None and trial.change.clean_labels
