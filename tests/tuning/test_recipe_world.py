"""Real recipes as a world: trials are ordinary runs, trained in this process; what they cost; the last look."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "raytrain"))
from plans import tiny_recipe

from cluster.fleet import Fleet
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from data_shards.synth import SynthOptions, synth
from raytrain.errors import UsageError
from raytrain.plan import resolve
from raytrain.runlog import PLAN, read_plan
from tuning.method.cost import SPEED
from tuning.method.recipe_world import RecipeWorld
from tuning.method.values import Change, Reading, Trial
from tuning.search.inprocess import InProcessExecutor
from tuning.search.training import Training, failed
from tuning.search.values import RungJob, RungResult

BASE = Trial(settings={}, change=None, seed=0)


def packed(folder: Path, minival: int | None = 5) -> str:
    """The URL of 60 training images in 4 shards, 20 of minival and 20 of val, in 4 classes."""
    if not (folder / "raw").exists():
        synth(folder / "raw", SynthOptions(classes=4, images=20, val_images=5, size=24), 1, lambda *_: None)
    out = str(folder / f"set-{minival}")
    options = PackOptions(name="four", samples_per_shard=15, minival=minival)
    pack(folder / "raw", out, options, 1, 0.0, lambda *_: None)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return packed(tmp_path_factory.mktemp("four"))


def training(data: str, study: Path, fleet: Fleet | None = None, **changes: object) -> Training:
    fleet = fleet or Fleet(name="test")
    recipe = tiny_recipe(precision="fp32", epochs=1.5, global_batch=10, **changes)
    plan = resolve(recipe, fleet, load_shardset(data), engine="torch")
    return Training(plan=plan, fleet=fleet, data_url=data, study=str(study))


def here(training: Training) -> InProcessExecutor:
    return InProcessExecutor(training, lambda _: None)


def world(data: str, study: Path, **more: object) -> RecipeWorld:
    return RecipeWorld(training(data, study), **{"executor": here, "say": lambda _: None, **more})  # type: ignore[arg-type]


def kind(world: RecipeWorld, name: str) -> Change:
    return next(change for change in world.changes({}) if change.kind == name)


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RecipeWorld, dict[str, Reading]]:
    """The baseline, half the images, and a wider network."""
    made = world(data, tmp_path_factory.mktemp("study"))
    trials = [
        BASE,
        *(BASE.model_copy(update={"change": kind(made, name)}) for name in ("half_data", "capacity_up")),
    ]
    found: dict[str, Reading] = {}
    made.train(trials, lambda t, r: found.update({t.change.kind if t.change else "base": r}))
    return made, found


def test_a_trial_is_a_run_measured_on_both_kinds_of_images(
    trained: tuple[RecipeWorld, dict[str, Reading]],
) -> None:
    made, found = trained
    assert [reading.state for reading in found.values()] == ["done"] * 3
    base = found["base"]
    assert base.train is not None
    assert base.minival is not None
    assert (base.train.of, base.minival.of, base.train_samples, base.steps) == (20, 20, 60, 9)
    assert len(base.curve) == 9, "every step: a tenth of 9 rounds up to one"
    assert base.run == str(made.study / "trials" / "000")
    plan = read_plan(Path(base.run))
    assert plan.recipe.eval_split == "minival"


def test_half_the_images_are_as_many_steps(trained: tuple[RecipeWorld, dict[str, Reading]]) -> None:
    half = trained[1]["half_data"]
    assert half.train_samples == 30
    assert half.steps == 9
    assert read_plan(Path(half.run)).recipe.epochs == 3


def test_the_same_seed_is_the_same_but_for_the_change(
    trained: tuple[RecipeWorld, dict[str, Reading]],
) -> None:
    made, found = trained
    plans = [read_plan(Path(reading.run)) for reading in found.values()]
    assert {plan.recipe.seed for plan in plans} == {0}
    assert made.plan(BASE.model_copy(update={"seed": 3})).recipe.seed == 3
    assert plans[2].recipe.model_copy(update={"model": plans[0].recipe.model}) == plans[0].recipe


def test_a_trial_sets_its_change_and_nothing_else(
    trained: tuple[RecipeWorld, dict[str, Reading]],
) -> None:
    made, _ = trained
    assert made.settings(BASE) == {}
    wide = BASE.model_copy(update={"change": kind(made, "capacity_up"), "seed": 2})
    assert made.settings(wide) == {"model.widen": 1.5, "seed": 2}


def test_what_was_trained_is_not_trained_again(
    trained: tuple[RecipeWorld, dict[str, Reading]], data: str
) -> None:
    made, found = trained

    def nobody(_: Training) -> InProcessExecutor:
        raise AssertionError("there is nothing to train")

    again = RecipeWorld(training(data, made.study), executor=nobody, say=lambda _: None)
    readings = list[Reading]()
    again.train([BASE], lambda _, reading: readings.append(reading))
    assert readings == [found["base"]]


def test_the_last_look_is_at_val(trained: tuple[RecipeWorld, dict[str, Reading]]) -> None:
    made, _ = trained
    rate = made.look(BASE)
    assert rate.of == 20
    assert (made.looked_at, made.base.plan.recipe.eval_split) == ("val", "minival")


def test_cost_follows_the_first_trial_that_ended(trained: tuple[RecipeWorld, dict[str, Reading]]) -> None:
    made, found = trained
    assert made.cost(BASE) == pytest.approx(found["base"].gpu_hours)
    wide = BASE.model_copy(update={"change": kind(made, "capacity_up")})
    more = made.plan(wide).estimates.forward_gmacs / made.plan(BASE).estimates.forward_gmacs
    assert made.cost(wide) == pytest.approx(more * found["base"].gpu_hours)
    assert made.cost(BASE.model_copy(update={"length": 2.0})) == pytest.approx(2 * made.cost(BASE))


def test_cost_before_anything_was_trained_is_timed_once(data: str, tmp_path: Path) -> None:
    first = world(data, tmp_path).cost(BASE)
    assert first > 0
    assert (tmp_path / SPEED).exists()
    assert world(data, tmp_path).cost(BASE) == first


def test_cost_by_the_fleets_own_speed(data: str, tmp_path: Path) -> None:
    base = training(data, tmp_path, Fleet(name="fast", sustained_tflops=0.5))
    made = RecipeWorld(base, executor=here, say=lambda _: None)
    assert made.cost(BASE) == made.plan(BASE).estimates.worker_hours
    assert not (tmp_path / SPEED).exists()


def test_gpus_of_unknown_speed_cannot_be_budgeted(data: str, tmp_path: Path) -> None:
    base = training(data, tmp_path, Fleet(name="new", gpu=True, memory_gib=80))
    made = RecipeWorld(base, executor=here, say=lambda _: None)
    with pytest.raises(UsageError, match=r"fleet 'new' does not say how fast it is.*sustained_tflops"):
        made.cost(BASE)


def test_without_minival_the_command_that_makes_one_is_told(data: str, tmp_path: Path) -> None:
    bare = packed(Path(data).parent, minival=None)
    with pytest.raises(UsageError, match=r"has no split minival \(it has train, val\).*--minival N"):
        world(bare, tmp_path)


def test_progressive_stages_are_refused(data: str, tmp_path: Path) -> None:
    base = training(data, tmp_path, progressive=[{"until": 0.5, "image_size": 8}])
    with pytest.raises(UsageError, match="progressive: its stages are not stretched"):
        RecipeWorld(base, executor=here, say=lambda _: None)


def test_clean_labels_are_another_set_of_the_same_classes(data: str, tmp_path: Path) -> None:
    made = world(data, tmp_path, clean=data)
    assert kind(made, "clean_labels").clean_labels
    other = load_shardset(data).model_copy(update={"classes": ("n1", "n2", "n3", "n4")})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "shardset.json").write_text(other.model_dump_json())
    with pytest.raises(UsageError, match="other is no set of the same 4 classes"):
        world(data, tmp_path, clean=str(tmp_path / "other"))


class Dies:
    """An executor whose worker dies so often."""

    def __init__(self, times: int) -> None:
        self.left, self.attempts = times, list[int]()

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        for job in jobs:
            self.attempts.append(job.attempt)
            self.left -= 1
            if self.left >= 0:
                done(job, failed("the worker died"))
            else:
                done(
                    job,
                    RungResult(state="diverged", samples=0, error=None, seconds=1.0, problem="not finite"),
                )


@pytest.mark.parametrize(("times", "attempts", "state"), [(1, [0, 1], "diverged"), (9, [0, 1, 2], "failed")])
def test_a_worker_that_dies_is_tried_again_and_then_marked(
    data: str, tmp_path: Path, times: int, attempts: list[int], state: str
) -> None:
    executor, found = Dies(times), list[Reading]()
    made = world(data, tmp_path, executor=lambda _: executor)
    made.train([BASE], lambda _, reading: found.append(reading))
    assert executor.attempts == attempts
    assert [reading.state for reading in found] == [state]
    assert not (made.folder(0) / PLAN).exists()
