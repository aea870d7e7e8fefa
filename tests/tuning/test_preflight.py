"""The preflight on drawn images: what is sound is green, and each planted fault is red by its own name."""

import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "raytrain"))
from plans import tiny_recipe

from cluster.fleet import Fleet
from data_shards.adopt import AdoptOptions, adopt
from data_shards.contents import classes_by_shard, shared_images
from data_shards.pack import PackOptions, pack
from data_shards.reader import labels
from data_shards.shardset import load_shardset
from data_shards.synth import SynthOptions, synth
from raytrain.plan import RunPlan, resolve
from raytrain.settings import change
from tuning.method import checks, lessons
from tuning.method.cost import Costs
from tuning.method.preflight import images_per_second, preflight

HERE = Fleet(name="test")
CLASSES, IMAGES, HELD_OUT = 4, 40, 50
STEPS = 100


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 classes; 40 images of each to train on, 25 of each held out."""
    root = tmp_path_factory.mktemp("drawn") / "images"
    synth(
        root,
        SynthOptions(classes=CLASSES, images=IMAGES, val_images=HELD_OUT, size=24),
        1,
        lambda *_: None,
    )
    return root


def packed(source: Path, out: Path) -> str:
    pack(source, str(out), PackOptions(name="four", samples_per_shard=20), 1, 0.0, lambda *_: None)
    return str(out)


@pytest.fixture(scope="module")
def sound(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return packed(drawn, tmp_path_factory.mktemp("sound") / "set")


@pytest.fixture
def source(drawn: Path, tmp_path: Path) -> Path:
    """The images once more, to break something in them."""
    shutil.copytree(drawn, tmp_path / "source")
    return tmp_path / "source"


def plan_for(data: str) -> RunPlan:
    recipe = change(tiny_recipe(), {"precision": "fp32", "model.attention": "none"})
    return resolve(recipe, HERE, load_shardset(data), engine="torch")


def held_out_labels(data: str) -> checks.Check:
    found = lessons.lesson(plan_for(data), data, steps=STEPS, seconds=60, count=200)
    return checks.held_out_labels(found.train, found.held_out, 1 - 1 / CLASSES, found.steps)


def test_what_is_sound_is_green(sound: str) -> None:
    said = list[str]()
    found = preflight(plan_for(sound), sound, HERE, looked_at_last="val", say=said.append)
    green = {check.name: check.green for check in found}
    del green["input speed"]  # it depends on who else uses this machine
    assert green == dict.fromkeys(
        ("class mix", "leak", "initial loss", "one batch", "blanked images", "held-out labels"), True
    )
    assert "ok  leak: 0 of 200 held-out images are in the training set" in said
    assert len(said) == 7


def test_held_out_folders_that_are_called_by_each_others_names(source: Path, tmp_path: Path) -> None:
    folders = sorted(path for path in (source / "val").iterdir() if path.is_dir())
    for folder in folders:
        folder.rename(folder.with_name(f"was-{folder.name}"))
    for index, folder in enumerate(folders):
        folder.with_name(f"was-{folder.name}").rename(folders[(index + 1) % CLASSES])
    check = held_out_labels(packed(source, tmp_path / "set"))
    assert not check.green
    assert "chance 0.750" in check.found


def test_images_that_are_all_blank(source: Path, tmp_path: Path) -> None:
    for file in (source / "train").rglob("*.JPEG"):
        Image.new("RGB", (24, 24)).save(file)
    data = packed(source, tmp_path / "set")
    real, blanked = lessons.by_heart(plan_for(data), data, 32, steps=20)
    assert not checks.one_batch(real).green
    assert not checks.blanked_images(real, blanked).green


def test_held_out_images_that_are_trained_on(source: Path, tmp_path: Path) -> None:
    kind = min(path.name for path in (source / "val").iterdir())
    for image in sorted((source / "val" / kind).iterdir())[:7]:
        shutil.copy(image, source / "train" / kind / f"copy-of-{image.name}")
    data = packed(source, tmp_path / "set")
    there = load_shardset(data)
    assert shared_images(data, there.split("val"), [there.split("train")]) == 7


def test_shards_that_are_sorted_by_class(drawn: Path, sound: str, tmp_path: Path) -> None:
    kinds = sorted(path.name for path in (drawn / "train").iterdir())
    for label, kind in enumerate(kinds):
        for split, name in (("train", f"train-{label}.tar"), ("val", f"val-{label}.tar")):
            with tarfile.open(tmp_path / name, "w") as tar:
                for image in sorted((drawn / split / kind).iterdir()):
                    add(tar, f"{image.stem}.jpg", image.read_bytes())
                    add(tar, f"{image.stem}.cls", str(label).encode())
    adopt(str(tmp_path), tuple(kinds), AdoptOptions(name="sorted"), 1, 0.0, lambda *_: None)
    there, mixed = load_shardset(str(tmp_path)), load_shardset(sound)
    assert not checks.class_mix(classes_by_shard(str(tmp_path), there.split("train"), 200)).green
    counts = classes_by_shard(sound, mixed.split("train"), 200)
    assert checks.class_mix(counts).green
    assert sum(map(sum, counts)) == len(labels(sound, mixed, "train"))
    assert len(classes_by_shard(sound, mixed.split("train"), 3)) == 3, "8 shards, every third"


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def test_a_fleet_of_gpus_takes_what_its_speed_says(sound: str) -> None:
    plan = plan_for(sound)
    flops = 6e9 * plan.estimates.forward_gmacs
    fast = Fleet(name="fast", gpu=True, sustained_tflops=1e-12 * 5 * flops)
    assert images_per_second(plan, fast, here=700.0) == pytest.approx(5)
    assert images_per_second(plan, HERE, here=700.0) == 700.0


def test_steps_are_timed_in_batches_that_fit(sound: str) -> None:
    plan = plan_for(sound)
    small = plan.model_copy(update={"placement": plan.placement.model_copy(update={"micro_batch": 4})})
    times = iter([5.0, 17.0])
    assert lessons.seconds_per_image(small, sound, 3, lambda: next(times)) == 12 / (3 * 4)


def test_timing_steps_is_told_once(sound: str, tmp_path: Path) -> None:
    said, plan = list[str](), plan_for(sound)
    costs = Costs(tmp_path, tmp_path / "trials", plan, sound, HERE, said.append)
    hours = costs.of(plan)
    assert Costs(tmp_path, tmp_path / "trials", plan, sound, HERE, said.append).of(plan) == hours
    assert said == [f"timing 4 steps of tiny here: fleet '{HERE.name}' says no speed"]
