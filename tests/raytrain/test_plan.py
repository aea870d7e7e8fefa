"""The plan: every derived number against one worked by hand, and what may and may not change a run's identity."""

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import paper_shardset, tiny_plan, tiny_recipe

from cluster.fleet import Fleet, presets
from data_shards.errors import DataError
from data_shards.shardset import Packing, Shard, ShardSet, Split
from raytrain.errors import UsageError
from raytrain.plan import Init, RunPlan, differences, flatten, resolve
from raytrain.recipe import Recipe
from raytrain.recipes import recipe
from raytrain.settings import change
from raytrain.tell import plan_text, size

INIT = Init(
    source="s3://bucket/runs/l22k",
    checkpoint="s3://bucket/runs/l22k/checkpoints/step-00311949",
    digest="5eed" * 16,
)
ROOMY = Fleet(name="roomy", memory_gib=1000)
IMAGENET = {  # train images, held out, classes: the fall 2011 release and ILSVRC 2012
    "22k": (14_197_122, 50_000, 21_841),
    "1k": (1_281_167, 50_000, 1_000),
}


def imagenet(name: str) -> ShardSet:
    return paper_shardset(*IMAGENET[name])


def planned(name: str) -> RunPlan:
    """The plans that a person has read: two of a laptop, two of eight GPUs."""
    h200 = presets()["h200x8"]
    match name:
        case "swin_b_22k_224":
            return resolve(recipe(name), h200, imagenet("22k"))
        case "swin_l_1k_384_from_22k":
            return resolve(recipe(name), h200, imagenet("1k"), init=INIT)
    return resolve(recipe(name), presets()["local-2"], paper_shardset(4800, 960, 48), engine="torch")


READ = ["smoke_swin_22k", "smoke_resnext_cbam_1k", "swin_b_22k_224", "swin_l_1k_384_from_22k"]


@pytest.mark.parametrize("name", READ)
def test_plans_read_as_accepted(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"plans/{name}.txt", plan_text(planned(name)) + "\n")
    golden(f"plans/{name}.json", planned(name).model_dump_json(indent=1) + "\n")


@pytest.mark.parametrize("name", READ)
def test_a_plan_survives_its_own_json(name: str) -> None:
    plan = planned(name)
    again = RunPlan.model_validate_json(plan.model_dump_json())
    assert (again, again.hash) == (plan, plan.hash)


def test_a_plan_of_before_is_still_read() -> None:
    """One whose estimates are those of the first runs: it is the same run, and is told with what it has."""
    plan = planned("swin_b_22k_224")
    before = json.loads(plan.model_dump_json())
    first = ("parameters", "forward_gmacs", "checkpoint_bytes", "worker_gib", "hours", "cost")
    before["estimates"] = {name: before["estimates"][name] for name in first}
    again = RunPlan.model_validate(before)
    assert (again.hash, differences(again, plan)) == (plan.hash, [])
    assert f"  in all              {plan.estimates.worker_gib:.2f} GiB" in plan_text(again)


def test_swin_b_22k_by_hand() -> None:
    """Microsoft's schedule: 3,466 whole batches an epoch, 311,940 steps. No image is dropped here: 8.5 steps more."""
    plan = planned("swin_b_22k_224")
    assert plan.lr == pytest.approx(1e-3)  # BASE_LR 1.25e-4 x 4096 / 512
    assert 14_197_122 // 4096 * 90 == 311_940
    lengths = plan.lengths
    assert lengths.steps == 311_949  # 90 x 14,197,122 / 4096 = 311,948.48
    assert lengths.steps_per_epoch == 3_467  # 3,466.09
    assert lengths.warmup_steps == 17_330  # 5 x 3,466.09 = 17,330.47
    assert lengths.evaluate_every == 3_466
    assert lengths.checkpoint_every == 347  # a tenth of an epoch
    placement = plan.placement
    assert placement.micro_batch * placement.accumulation * 8 == 4096
    # 87.8 M with 1,000 classes (the README's 88 M), and 1,025 numbers for each class more
    assert plan.estimates.parameters == 87_768_224 + 1_025 * (21_841 - 1_000)
    assert plan.estimates.checkpoint_bytes == 12 * plan.estimates.parameters  # fp32 weight and two moments


def test_the_fine_tune_by_hand() -> None:
    plan = planned("swin_l_1k_384_from_22k")
    assert plan.lr == pytest.approx(4e-5)  # 2e-5 x 1024 / 512
    assert plan.lengths.steps == 37_535  # 30 x 1,281,167 / 1024 = 37,534.19
    assert plan.lengths.warmup_steps == 6_256  # 5 x 1,251.14 = 6,255.70
    assert round(plan.estimates.forward_gmacs, 1) == 103.9  # the README's FLOPs
    assert plan.init == INIT


def test_hours_and_money_by_hand() -> None:
    """3 x 2 x MACs x images / (2 x 4 workers x 100 TFLOP/s), on 2 nodes of 10 an hour."""
    fleet = Fleet(
        name="rented",
        nodes=2,
        workers_per_node=4,
        memory_gib=139,
        sustained_tflops=100,
        node_price_per_hour=10,
    )
    estimates = resolve(recipe("swin_b_22k_224"), fleet, imagenet("22k")).estimates
    hours = 6 * estimates.forward_gmacs * 1e9 * 311_949 * 4096 / (8 * 100e12) / 3600
    assert estimates.hours == pytest.approx(hours)
    assert estimates.hours == pytest.approx(41.2, abs=0.1)
    assert estimates.cost == pytest.approx(hours * 20)


def test_short_runs_keep_every_length_in_bounds() -> None:
    """40 images, batch 16, a tenth of an epoch: 1 step, which is all warm-up, evaluation and checkpoint."""
    short = change(tiny_recipe(), {"epochs": 0.1, "schedule.warmup_epochs": 9, "checkpoint_epochs": 0.01})
    lengths = resolve(short, presets()["local"], paper_shardset(40, 8)).lengths
    assert lengths.model_dump() == {
        "steps_per_epoch": 3,
        "steps": 1,
        "warmup_steps": 1,
        "lr_drop_every": None,
        "evaluate_every": 2,
        "checkpoint_every": 1,
        "sizes": (),
    }


@settings(deadline=None)
@example(11, 400, 20)
@given(st.integers(1, 400), st.integers(1, 500), st.integers(1, 32))
def test_steps_round_up_by_less_than_one(tenths: int, train: int, batch: int) -> None:
    """Exactly: with floats, 1.1 epochs of 400 images at batch 20 would be 23 steps."""
    wanted = tiny_recipe(epochs=tenths / 10, global_batch=batch, regularization={"mixup": 0.0, "cutmix": 0.0})
    steps = resolve(wanted, ROOMY, paper_shardset(train)).lengths.steps
    assert 0 <= steps * batch * 10 - tenths * train < batch * 10


def test_micro_batches_fill_the_memory_and_no_more() -> None:
    """Of the divisors of a worker's 512 images, the largest whose estimate fits 80 %; twice as many would not."""

    def fill(memory: float) -> tuple[int, int, float]:
        plan = resolve(
            recipe("swin_b_22k_224"), Fleet(name="x", workers_per_node=8, memory_gib=memory), imagenet("22k")
        )
        return plan.placement.micro_batch, plan.placement.accumulation, plan.estimates.worker_gib

    sizes = {memory: fill(memory) for memory in (6, 12, 22, 45, 80, 139)}
    divisions = [(16, 32), (32, 16), (64, 8), (128, 4), (256, 2), (512, 1)]
    assert [(micro, times) for micro, times, _ in sizes.values()] == divisions
    for memory, (micro, _, needed) in sizes.items():
        assert needed <= 0.8 * memory
        if micro < 512:
            activations = micro * (sizes[139][2] - needed) / (512 - micro)
            assert needed + activations > 0.8 * memory


def test_zero_splits_the_optimizer_and_the_plain_engine_does_not() -> None:
    def gib(engine: str, workers: int) -> float:
        stage = 1 if engine == "deepspeed" else None
        return tiny_plan(workers, engine, stage, global_batch=64).estimates.worker_gib

    number = tiny_plan().estimates.parameters / 2**30
    whole = 12 * number  # two moments and ZeRO's own fp32 copy of the weights
    buckets = 8 * number  # one for what is sent in fp32, one in bf16; 4 without ZeRO, and none for one worker
    assert gib("deepspeed", 1) - gib("torch", 1) == pytest.approx(4 * number + buckets)
    assert gib("torch", 4) - gib("deepspeed", 4) == pytest.approx(
        8 * number + 4 * number - whole / 4 - buckets
    )
    per_image = {n: tiny_plan(n, zero_stage=1, global_batch=16 * n).estimates.worker_gib for n in (1, 2, 4)}
    assert per_image[1] - per_image[2] == pytest.approx(whole / 2)
    assert per_image[2] - per_image[4] == pytest.approx(whole / 4)
    assert tiny_plan(engine="torch").placement.zero_stage == 0
    without = [tiny_plan(workers=4, engine=engine, zero_stage=0) for engine in ("torch", "deepspeed")]
    assert without[0].estimates.memory == without[1].estimates.memory
    assert (
        tiny_plan(workers=4, zero_stage=2).estimates.memory
        == tiny_plan(workers=4, zero_stage=3).estimates.memory
    )


def test_zero_splits_no_more_than_has_to_be() -> None:
    """Swin-L on 8 workers: whole optimizers while they fit, then shares of them, then shares of gradients too."""

    def stage(gib: float, **options: object) -> int:
        fleet = Fleet(name="x", workers_per_node=8, gpu=True, memory_gib=gib)
        return resolve(recipe("swin_l_22k_224"), fleet, imagenet("22k"), **options).placement.zero_stage

    needs = [5.33, 4.04, 3.11]
    assert [stage(need + 0.01) for need in needs] == [0, 1, 2]
    assert [stage(need - 0.01) for need in needs[:2]] == [1, 2]
    assert stage(80, zero_stage=2) == 2
    assert stage(80, engine="torch") == 0


def test_a_model_that_does_not_fit_names_both_sizes() -> None:
    small = Fleet(name="closet", memory_gib=1.5)
    with pytest.raises(
        UsageError, match=r"swin_b_22k_224 needs about 2\.63 GiB per worker even at micro-batch 2, .* 1\.5 "
    ):
        resolve(recipe("swin_b_22k_224"), small, imagenet("22k"))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UsageError, match="split 'val' of shard set 'paper' is empty"):
        resolve(tiny_recipe(), presets()["local"], paper_shardset(400, 0))
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        resolve(tiny_recipe(eval_split="test"), presets()["local"], paper_shardset())


SETTING = re.compile(r"--set global_batch=(\d+)(?: or (\d+))?")


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 16), st.integers(1, 400), st.booleans())
def test_the_global_batch_is_divided_whole_or_the_nearest_that_can_be_is_named(
    workers: int, batch: int, paired: bool
) -> None:
    mixing = {"mixup": 0.8 if paired else 0.0, "cutmix": 0.0}
    wanted = tiny_recipe(global_batch=batch, regularization=mixing)
    fleet = ROOMY.model_copy(update={"workers_per_node": workers})
    unit = workers * (2 if paired else 1)
    if batch % unit == 0:
        placement = resolve(wanted, fleet, paper_shardset()).placement
        assert workers * placement.micro_batch * placement.accumulation == batch
        assert not (paired and placement.micro_batch % 2), "mixup needs pairs"
        return
    with pytest.raises(UsageError, match=r"does not divide over \d+ workers") as refused:
        resolve(wanted, fleet, paper_shardset())
    named = SETTING.search(str(refused.value))
    assert named is not None, refused.value
    suggested = [int(number) for number in named.groups() if number]
    assert suggested == [number for number in (batch // unit * unit, (batch // unit + 1) * unit) if number]
    for number in suggested:
        resolve(change(wanted, {"global_batch": number}), fleet, paper_shardset())


def test_machines_do_not_change_what_a_run_is() -> None:
    plans = [tiny_plan(), tiny_plan(workers=4), tiny_plan(engine="torch"), tiny_plan(zero_stage=2)]
    plans.append(resolve(tiny_recipe(), presets()["h200x8"], paper_shardset()))
    assert len({plan.hash for plan in plans}) == 1
    assert len({plan.model_dump_json() for plan in plans}) == 5
    assert differences(plans[0], plans[-1]) == []


def test_everything_else_does() -> None:
    base, fleet = tiny_plan(), presets()["local"]
    reshuffled = paper_shardset().model_copy(update={"packing": Packing(seed=1, samples_per_shard=1000)})
    others = [
        tiny_plan(seed=1),
        tiny_plan(name="other"),
        tiny_plan(precision="fp32"),
        resolve(tiny_recipe(), fleet, paper_shardset(), init=INIT),
        resolve(tiny_recipe(), fleet, reshuffled),
    ]
    assert len({plan.hash for plan in (base, *others)}) == 6


def test_a_difference_is_named_by_path_with_both_values() -> None:
    def lines(**changes: object) -> list[str]:
        return differences(tiny_plan(), tiny_plan(**changes))

    assert lines() == []
    assert lines(seed=3) == ["recipe.seed: 0 -> 3"]
    assert lines(optimizer={**tiny_recipe().optimizer.model_dump(), "lr": 0.02}) == [
        "lr: 0.01 -> 0.02",
        "recipe.optimizer.lr: 0.01 -> 0.02",
    ]
    fresh, tuned = tiny_plan(), tiny_plan().model_copy(update={"init": INIT})
    assert f'init.checkpoint: (none) -> "{INIT.checkpoint}"' in differences(fresh, tuned)


def test_one_shard_of_another_content_is_other_data() -> None:
    shard = Shard(name="train-000000", samples=400, bytes=1, sha256="1", index_sha256="0")
    before = paper_shardset()
    train = Split(shards=(shard,), class_counts=before.splits["train"].class_counts)
    after = before.model_copy(update={"splits": {**before.splits, "train": train}})
    after = ShardSet.model_validate(after.model_dump())
    plans = [resolve(tiny_recipe(), presets()["local"], data) for data in (before, after)]
    assert [line.split(":")[0] for line in differences(*plans)] == ["data.fingerprint"]


def test_rules_are_given_for_numbers_that_exist() -> None:
    """Each path in `because` leads to a number of the plan, and the derived ones all have a rule."""
    plan = resolve(
        recipe("swin_b_22k_224"),
        Fleet(name="x", workers_per_node=8, memory_gib=45, peak_tflops=1),
        imagenet("22k"),
    )
    tree = plan.model_dump()
    for path in plan.because:
        node = tree
        for part in path.split("."):
            node = node[part]
    derived = {f"lengths.{name}" for name in tree["lengths"]} | {
        f"estimates.{path}" for path in flatten(tree["estimates"])
    }
    chosen = {f"placement.{name}" for name in ("zero_stage", "micro_batch", "accumulation")}
    assert derived | chosen | {"lr"} == set(plan.because)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"schedule.shape": "constant"}, "schedule          constant"),
        ({"schedule.shape": "linear", "schedule.end": 0}, "schedule          linear to x 0"),
        (
            {"schedule.shape": "step", "schedule.step_epochs": 2},
            "schedule          x 0.1 every 150 steps         2 epochs x 4,800 images / 64",
        ),
        (
            {"optimizer.layer_decay": 0.8, "optimizer.layer_buckets": 4},
            "optimizer         adamw, weight decay 0.05, layer decay 0.8 in 4 buckets",
        ),
    ],
)
def test_other_schedules_and_layer_decay_are_told(changes: dict[str, object], line: str) -> None:
    plan = resolve(
        change(recipe("smoke_swin_22k"), changes), presets()["local"], paper_shardset(4800, 960, 48)
    )
    assert f"  {line}" in plan_text(plan).splitlines()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_060_000_000, "1.06 GB"), (2.5e15, "2.5e+03 TB")],
)
def test_sizes_for_people(count: float, text: str) -> None:
    assert size(count) == text


def test_the_tiny_recipe_is_a_recipe() -> None:
    assert Recipe.model_validate_json(tiny_recipe().model_dump_json()) == tiny_recipe()
