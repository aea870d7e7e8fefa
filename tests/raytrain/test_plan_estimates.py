"""A plan's time, money and ways out: what is assumed and from whom, what fits, what would, and the page of it all."""

import re
import shlex
from collections.abc import Callable
from functools import cache

import pytest

from cluster.fleet import Fleet, presets
from data_shards.shardset import ShardSet
from raytrain.errors import UsageError
from raytrain.models.arithmetic import forward_macs
from raytrain.models.named import named as network_named
from raytrain.models.named import named_specs
from raytrain.plan import RunPlan, resolve
from raytrain.plan.memory import SHARE
from raytrain.plan.published import OTHER_GPU, SPEEDS, nearest_speed
from raytrain.recipe import Recipe
from raytrain.recipes import recipe
from raytrain.recipes.assumed import assumed_data
from raytrain.settings import change, parse
from raytrain.tell import plan_text

RENTED = Fleet(
    name="rented",
    nodes=2,
    workers_per_node=8,
    gpu=True,
    memory_gib=40,
    peak_tflops=989,
    node_price_per_hour=30,
    placement="SPREAD",
)


@cache
def data_for(made_for: str) -> ShardSet:
    return assumed_data(made_for)  # type: ignore[arg-type]


def planned(asked: Recipe, fleet: Fleet, **options: object) -> RunPlan:
    return resolve(asked, fleet, data_for(asked.made_for), **options)  # type: ignore[arg-type]


def test_the_page_reads_as_accepted(golden: Callable[[str, str], None]) -> None:
    plan = planned(recipe("swin_l_22k_224"), RENTED)
    golden("plans/swin_l_22k_224.txt", plan_text(plan) + "\n")
    assert max(map(len, plan_text(plan).splitlines())) <= 120


def test_published_speeds_by_hand() -> None:
    """Facts of their tables: 281 images/s x 92.6 GFLOP / 71 TFLOP/s; 12 minutes an epoch of 1,281,167 on 16 V100s."""
    by_name = {(speed.model, speed.image_size): speed.mfu for speed in SPEEDS if speed.gpu == "RTX 3090"}
    assert by_name["swin_b", 224] == pytest.approx(281 * 92.59e9 / 71e12, rel=1e-3)
    assert by_name["swin_b", 224] == pytest.approx(0.366, abs=5e-4)
    assert by_name["swin_l_384", 384] == pytest.approx(0.367, abs=5e-4)
    assert OTHER_GPU.images_per_second == pytest.approx(111.2, abs=0.1)
    assert OTHER_GPU.mfu == pytest.approx(0.082, abs=5e-4)
    assert all(0.05 < mfu < 0.65 for mfu in by_name.values())


@pytest.mark.parametrize(
    ("network", "size", "like"),
    [
        ("swin_l", 224, "swin_l"),
        ("swin_b_384", 384, "swin_b_384"),
        ("resnext50_32x4d_cbam", 224, "resnext50_32x4d_se"),
        ("resnet101", 224, "resnet101"),
        ("wide_resnet18_2_0", 224, "resnet101"),
        ("vit_l_16_384", 384, "deit_b_384"),
        ("bit_r152x4", 480, "bit_r152x4"),
    ],
)
def test_the_nearest_network_is_of_the_same_kind(network: str, size: int, like: str) -> None:
    spec = network_named(network)
    found = nearest_speed(spec, forward_macs(spec, 1000, size), 71, compiled=False)
    assert (found.model, found.gpu) == (like, "RTX 3090")


@pytest.mark.parametrize(
    ("network", "peak", "compiled", "speed"),
    [
        ("swin_l", 989, False, 886.43),
        ("swin_l", 989, True, 1826.6),
        ("swin_b", 312, True, 281),
        ("resnet50", 989, True, 1218.01),
    ],
)
def test_the_nearest_gpu_is_asked_first(network: str, peak: float, compiled: bool, speed: float) -> None:
    """An A100's 312 are nearer to the RTX 3090's 71 than to an H200's 989, on which no ResNet was measured."""
    spec = network_named(network)
    found = nearest_speed(spec, forward_macs(spec, 1000, 224), peak, compiled=compiled)
    assert found.images_per_second == speed


def test_every_family_has_a_speed() -> None:
    assert {spec.family for spec in named_specs().values()} == {
        network_named(speed.model).family for speed in SPEEDS
    }


def test_what_is_assumed_says_so_and_from_whom() -> None:
    plan = planned(recipe("swin_b_1k_224"), presets()["h200x8"])
    estimates = plan.estimates
    assert estimates.mfu == pytest.approx(0.083, abs=5e-4)
    assert estimates.tflops == pytest.approx(989 * estimates.mfu)
    for part in (
        "ASSUMED, not measured",
        "swin_b at 224 px",
        "886.4 images/s on an H200",
        "benchmarks/RESULTS.md",
        "V100s",
    ):
        assert part in plan.because["estimates.mfu"]
    assert "ASSUMED" in plan_text(plan)
    assert estimates.images_per_second == pytest.approx(
        8 * 989 * estimates.mfu / (estimates.train_gflops / 1e3)
    )
    assert estimates.hours == pytest.approx(375_342 * 1024 / estimates.images_per_second / 3600)
    assert estimates.worker_hours == pytest.approx(8 * estimates.hours)
    assert (estimates.cost, plan.because["estimates.cost"]) == (
        None,
        "unknown: fleet 'h200x8' gives no node_price_per_hour",
    )


def test_what_is_measured_is_taken_as_it_is_and_never_called_assumed() -> None:
    fleet = RENTED.model_copy(update={"sustained_tflops": 247.25})
    plan = planned(recipe("swin_b_1k_224"), fleet)
    assert (plan.estimates.tflops, plan.estimates.mfu) == (247.25, 0.25)
    assert plan.because["estimates.mfu"] == "measured 247.25 of fleet 'rented' peak_tflops 989"
    assert "ASSUMED, not measured" not in plan_text(plan)
    assert "assumed MFU" not in plan_text(plan)
    bare = planned(recipe("swin_b_1k_224"), fleet.model_copy(update={"peak_tflops": None}))
    assert bare.estimates.mfu is None
    assert bare.estimates.hours == plan.estimates.hours
    assert bare.estimates.cost == pytest.approx(plan.estimates.hours * 60)


def test_without_either_the_time_is_unknown() -> None:
    plan = planned(recipe("smoke_swin_22k"), presets()["local"])
    assert {plan.estimates.mfu, plan.estimates.tflops, plan.estimates.hours, plan.estimates.cost} == {None}
    assert (
        "gives no sustained_tflops (measured), nor peak_tflops to guess from"
        in plan.because["estimates.hours"]
    )


def test_memory_is_the_sum_of_its_parts() -> None:
    plan = planned(change(recipe("swin_b_1k_224"), {"ema_decay": 0.999}), RENTED)
    held = plan.estimates.memory
    assert held is not None
    count = plan.estimates.parameters
    assert (held.weights, held.average, held.autocast) == (4 * count, 4 * count, 2 * count)
    assert held.reduction == 25 * 2**20, "less than the gradients: a bucket at a time"
    assert held.total == sum(held.model_dump().values()) == pytest.approx(plan.estimates.worker_gib * 2**30)


def test_what_the_next_larger_micro_batch_needs_is_what_it_needs() -> None:
    plan = planned(recipe("swin_l_22k_224"), RENTED)
    larger = plan.estimates.larger
    assert larger is not None
    roomy = planned(
        recipe("swin_l_22k_224"), RENTED.model_copy(update={"memory_gib": larger.worker_gib / SHARE + 1e-6})
    )
    assert (roomy.placement.micro_batch, roomy.estimates.worker_gib) == (
        larger.micro_batch,
        larger.worker_gib,
    )
    assert larger.worker_gib > SHARE * RENTED.memory_gib
    assert "execution.checkpointing=true makes it" in plan.because["estimates.larger.worker_gib"]
    assert (
        planned(recipe("swin_l_22k_224"), RENTED.model_copy(update={"memory_gib": 999})).estimates.larger
        is None
    )


WAY = re.compile(r"^  (.*\S) +(\d+\.\d\d) GiB$", re.MULTILINE)


def ways(asked: Recipe, fleet: Fleet, **options: object) -> dict[str, float]:
    """What the refusal names, and the GiB of each."""
    with pytest.raises(UsageError, match="What would fit") as refused:
        planned(asked, fleet, **options)
    return {words: float(gib) for words, gib in WAY.findall(str(refused.value))}


CHECKPOINTING = "--set execution.checkpointing=true"


@pytest.mark.parametrize(
    ("name", "gib", "zero", "named"),
    [
        ("swin_l_22k_224", 4.2, 0, ["without --zero"]),
        ("swin_l_22k_224", 3.6, 1, ["without --zero"]),
        ("swin_l_22k_224", 2.5, 1, [f"{CHECKPOINTING} without --zero --workers 32"]),
        ("swin_l_22k_224", 2.5, None, [f"{CHECKPOINTING} --workers 32"]),
        ("swin_l_1k_384_from_22k", 3.5, 1, ["--set view.image_size=192 --set model.window=6"]),
        (
            "swin_l_1k_384_from_22k",
            4.0,
            None,
            [CHECKPOINTING, "--workers 64", "--set view.image_size=352 --set model.window=11"],
        ),
        ("cbam_resnext101_1k_2018", 0.9, None, [CHECKPOINTING, "--set view.image_size=128"]),
    ],
)
def test_each_way_out_fits_with_the_need_it_names(
    name: str, gib: float, zero: int | None, named: list[str]
) -> None:
    """Alone where one kind of change is enough, else the mildest together."""
    fleet = Fleet(name="closet", workers_per_node=8, gpu=True, memory_gib=gib)
    found = ways(recipe(name), fleet, zero_stage=zero)
    last = found.pop("a fleet of more memory_gib")
    assert last > gib
    assert planned(recipe(name), fleet.model_copy(update={"memory_gib": last + 0.01}), zero_stage=zero)
    assert list(found) == named
    for words, need in found.items():
        assert need <= gib
        settings, options, workers = [], {"zero_stage": zero}, 8
        arguments = iter(shlex.split(words))
        for option in arguments:
            value = next(arguments)
            if option == "--set":
                settings.append(value)
            elif option == "without":
                assert value == "--zero"
                options["zero_stage"] = None
            else:
                assert option == "--workers"
                workers = int(value)
        wanted = change(recipe(name), parse(settings))
        tight = fleet.model_copy(update={"memory_gib": need + 0.01, "workers_per_node": workers})
        assert planned(wanted, tight, **options)
        with pytest.raises(UsageError):
            planned(wanted, tight.model_copy(update={"memory_gib": need - 0.01}), **options)


@pytest.mark.parametrize(("workers", "gib"), [(1, 3.0), (2, 2.7)])
def test_a_stage_that_was_asked_for_may_be_what_does_not_fit(workers: int, gib: float) -> None:
    fleet = Fleet(name="closet", workers_per_node=workers, gpu=True, memory_gib=gib)
    need = ways(recipe("swin_b_22k_224"), fleet, zero_stage=1)["without --zero"]
    assert need <= gib
    assert planned(recipe("swin_b_22k_224"), fleet).placement.zero_stage == 0


def test_where_no_flag_helps_only_memory_is_named() -> None:
    fleet = Fleet(name="closet", workers_per_node=8, gpu=True, memory_gib=1.5)
    assert list(ways(recipe("swin_l_22k_224"), fleet)) == ["a fleet of more memory_gib"]


def test_assumed_data_is_in_shards_and_says_so() -> None:
    """1.31 TB of fall11 in 14,198 shards; 11 ranges of 8 MiB and an index each."""
    plan = planned(recipe("swin_b_22k_224"), presets()["h200x8"])
    traffic = plan.estimates.traffic
    assert traffic is not None
    assert traffic.bytes == pytest.approx(1.31e12, rel=1e-3)
    assert traffic.gets == 14_197 * 12 + 2 + 1
    assert plan.because["estimates.traffic.set_bytes"] == "14,198 shards with their indexes, assumed"
    assert plan.because["estimates.traffic.bytes"].startswith("if it lies in S3: ")


def test_a_set_on_a_disk_asks_nothing_of_s3() -> None:
    plan = planned(recipe("smoke_swin_22k"), presets()["local"], url="/data/set")
    assert plan.estimates.traffic is not None
    assert plan.estimates.traffic.gets == 0
    assert plan_text(plan).endswith(
        "  bytes             0                             none: the data is read where it lies"
    )
