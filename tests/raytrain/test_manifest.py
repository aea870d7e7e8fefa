"""Checkpoints: whole or absent, and nothing of a damaged one is used. Real files, damaged on purpose."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import tiny_plan

from data_shards.errors import DataError
from data_shards.store import open_store
from raytrain import checkpoint
from raytrain.engine import EngineState
from raytrain.errors import RunError, UsageError
from raytrain.manifest import (
    MANIFEST,
    Card,
    FileDigest,
    Manifest,
    complete_steps,
    init_from,
    key_of,
    locate,
    newest,
    verify,
)
from raytrain.state import TrainState

PLAN = tiny_plan()
CLASSES = ("n00000001", "n00000002")
FILES = ("model.pt", "moments.pt", "state.json", "card.json", MANIFEST)
KIB = 256  # floats in one KiB of fp32


def tensors(seed: int, kib: int = 2) -> EngineState:
    """Weights of `kib` KiB, two moments of the same size, and a counter."""
    draw = torch.Generator().manual_seed(seed)
    weight, first, second = torch.randn(3, kib * KIB, generator=draw)
    return EngineState(
        model={"weight": weight.clone(), "seen": torch.tensor(seed)},
        moments={"weight": {"exp_avg": first.clone(), "exp_avg_sq": second.clone()}},
        applied=seed,
    )


def put(run: Path, *steps: int, kib: int = 2) -> None:
    for step in steps:
        state = TrainState(step=step, samples_seen=16 * step, best_top1=0.25)
        checkpoint.save(open_store(str(run)), PLAN, CLASSES, state, tensors(step, kib), world=3)


def flip(file: Path, position: int, bit: int = 0) -> bytes:
    """Turn one bit over; returns the bytes as they were."""
    raw = file.read_bytes()
    changed = bytearray(raw)
    changed[position] ^= 1 << bit
    file.write_bytes(changed)
    return raw


def damage(run: Path, step: int) -> None:
    flip(run / key_of(step) / "model.pt", 700)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of steps 5, 10 and 15."""
    put(tmp_path / "run", 5, 10, 15)
    return tmp_path / "run"


def test_what_was_saved_is_loaded_to_the_last_bit(run: Path) -> None:
    found, passed = newest(open_store(str(run)))
    assert found is not None
    assert passed == []
    assert (found.manifest.step, found.manifest.world, found.manifest.plan) == (15, 3, PLAN.hash)
    assert found.card == Card(recipe=PLAN.recipe, classes=CLASSES)
    state, engine = checkpoint.load_engine(found)
    assert state == TrainState(step=15, samples_seen=240, best_top1=0.25)
    saved = tensors(15)
    assert engine.applied == 15
    assert engine.model.keys() == saved.model.keys()
    assert all(torch.equal(engine.model[name], saved.model[name]) for name in saved.model)
    for key, moment in saved.moments["weight"].items():
        assert torch.equal(engine.moments["weight"][key], moment)


def test_the_same_state_makes_the_same_files(run: Path, tmp_path: Path) -> None:
    put(tmp_path / "again", 15)
    assert verify(f"{tmp_path}/again/{key_of(15)}").manifest == verify(f"{run}/{key_of(15)}").manifest


def test_the_manifest_says_what_the_files_are(run: Path) -> None:
    folder = run / key_of(10)
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    said = json.loads((folder / MANIFEST).read_text())["files"]
    for name in FILES[:-1]:
        raw = (folder / name).read_bytes()
        assert said[name] == {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One checkpoint, to be damaged and put right again."""
    run = tmp_path_factory.mktemp("lone")
    put(run, 7)
    return run / key_of(7)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_any_bit_that_turns_over_is_found_before_anything_is_loaded(
    lone: Path, name: str, place: float, bit: int
) -> None:
    file = lone / name
    before = flip(file, int(place * file.stat().st_size), bit)
    try:
        with pytest.raises(RunError, match=rf"{name} is damaged"):
            verify(str(lone))
    finally:
        file.write_bytes(before)
    assert verify(str(lone)).manifest.step == 7


@pytest.mark.parametrize("name", ["model.pt", "moments.pt", "state.json"])
def test_damage_after_the_check_is_found_by_the_load(lone: Path, name: str) -> None:
    found = verify(str(lone))
    before = flip(lone / name, 20)
    try:
        with pytest.raises(RunError, match=f"{name} is damaged"):
            checkpoint.load_engine(found)
    finally:
        (lone / name).write_bytes(before)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [truncate, empty, Path.unlink])
def test_harm_to_any_file_is_named(run: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(run / key_of(15) / name)
    with pytest.raises(RunError) as refused:
        verify(str(run / key_of(15)))
    assert f"{run / key_of(15)}/{name}" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("model.pt", "model.pt"),
        ("moments.pt", "moments.pt"),
        ("state.json", "state.json"),
        (MANIFEST, "model.pt"),
    ],
)
def test_a_true_file_of_another_step_is_found(run: Path, name: str, named: str) -> None:
    shutil.copy(run / key_of(10) / name, run / key_of(15) / name)
    with pytest.raises(RunError, match=f"{named} is damaged"):
        verify(str(run / key_of(15)))


def test_two_files_that_changed_places_are_found(run: Path) -> None:
    folder = run / key_of(15)
    for old, new in (("model.pt", "aside"), ("moments.pt", "model.pt"), ("aside", "moments.pt")):
        (folder / old).rename(folder / new)
    with pytest.raises(RunError, match=r"model\.pt is damaged: \d+ bytes.*the manifest says \d+ bytes"):
        verify(str(folder))


def test_damaged_checkpoints_are_walked_past_aloud(run: Path) -> None:
    damage(run, 15)
    (run / key_of(10) / "state.json").unlink()
    found, passed = newest(open_store(str(run)))
    assert found is not None
    assert found.manifest.step == 5
    assert ["step-00000015/model.pt is damaged" in passed[0], "state.json" in passed[1]] == [True, True]
    assert len(passed) == 2


def test_where_all_are_damaged_nothing_starts_again_in_silence(run: Path) -> None:
    for step in (5, 10, 15):
        damage(run, step)
    with pytest.raises(RunError) as refused:
        newest(open_store(str(run)))
    said = str(refused.value)
    assert said.startswith("every finished checkpoint of this run is damaged")
    assert [key_of(step) in said for step in (5, 10, 15)] == [True, True, True]
    assert f"remove {run}/checkpoints to start from step 0" in said


def test_a_checkpoint_without_its_manifest_was_never_finished(run: Path) -> None:
    store = open_store(str(run))
    for step, left in ((15, [10, 5]), (10, [5]), (5, [])):
        (run / key_of(step) / MANIFEST).unlink()
        assert complete_steps(store) == left[::-1]
        found, passed = newest(store)
        assert [found.manifest.step if found else None, passed] == [left[0] if left else None, []]


def test_a_run_a_checkpoint_or_neither(run: Path, tmp_path: Path) -> None:
    assert locate(str(run), print).manifest.step == 15
    assert locate(str(run / key_of(5)), print).manifest.step == 5
    assert init_from(str(run), print).checkpoint == str(run / key_of(15))
    assert init_from(str(run), print).digest == verify(f"{run}/{key_of(15)}").manifest.digest
    with pytest.raises(UsageError, match=r"holds no checkpoint: neither MANIFEST\.json nor"):
        locate(str(tmp_path / "nothing"), print)


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(3, 5, [5, 20, 25, 30]), (3, 25, [20, 25, 30]), (1, 10, [10, 30]), (3, 0, [20, 25, 30]), (9, 0, None)],
)
def test_the_newest_and_the_best_are_kept(
    tmp_path: Path, keep: int, best: int, left: list[int] | None
) -> None:
    steps = [5, 10, 15, 20, 25, 30]
    put(tmp_path, *steps)
    store = open_store(str(tmp_path))
    checkpoint.prune(store, 30, keep=keep, best=best)
    assert complete_steps(store) == (left or steps)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        f"step-{step:08d}" for step in left or steps
    ]
    for step in left or steps:
        verify(f"{tmp_path}/{key_of(step)}")


def test_what_a_killed_save_or_prune_left_goes_too_unless_it_may_be_growing(tmp_path: Path) -> None:
    put(tmp_path, 5, 10, 15, 20)
    for unfinished in (5, 20):
        (tmp_path / key_of(unfinished) / MANIFEST).unlink()
    checkpoint.prune(open_store(str(tmp_path)), 15, keep=2, best=0)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000010",
        "step-00000015",
        "step-00000020",
    ]


def test_damaged_ones_that_were_walked_past_cost_no_whole_one(tmp_path: Path) -> None:
    """The run went on after step 5, past three that had rotted, and saved a best one at step 7."""
    put(tmp_path, 5, 10, 15, 20)
    for rotten in (10, 15, 20):
        damage(tmp_path, rotten)
    put(tmp_path, 7)
    store = open_store(str(tmp_path))
    checkpoint.prune(store, 7, keep=2, best=7)
    assert complete_steps(store) == [5, 7, 10, 15, 20]
    put(tmp_path, 10)
    checkpoint.prune(store, 10, keep=1, best=0)
    assert complete_steps(store) == [10, 15, 20]
    found, passed = newest(store)
    assert found is not None
    assert (found.manifest.step, len(passed)) == (10, 2)


def test_nothing_is_deleted_for_one_that_does_not_read_back(run: Path) -> None:
    damage(run, 15)
    store = open_store(str(run))
    with pytest.raises(RunError, match=r"step-00000015/model\.pt is damaged"):
        checkpoint.prune(store, 15, keep=1, best=0)
    assert complete_steps(store) == [5, 10, 15]


class Gadget:
    """What pickle would run: it touches a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["model.pt", "moments.pt"])
def test_code_in_a_checkpoint_that_verifies_does_not_run(run: Path, tmp_path: Path, name: str) -> None:
    folder, mark = run / key_of(15), tmp_path / "mark"
    torch.save({"weight": Gadget(mark)}, folder / name)
    raw = (folder / name).read_bytes()
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    digest = FileDigest(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    forged = manifest.model_copy(update={"files": {**manifest.files, name: digest}}).sealed()
    (folder / MANIFEST).write_text(forged.model_dump_json())
    found = verify(str(folder))
    with pytest.raises(RunError, match=rf"{name} holds more than tensors"):
        checkpoint.load_engine(found)
    assert not mark.exists()
    torch.load(folder / name, weights_only=False)
    assert mark.exists(), "the gadget works where it is let"


def test_a_full_disk_leaves_the_older_checkpoint(small_disk: Path) -> None:
    """Each takes 300 of 512 KiB."""
    put(small_disk, 5, kib=100)
    store = open_store(str(small_disk))
    with pytest.raises(
        DataError, match=r"the disk is full: .*step-00000010.* needs [\d,]+ bytes and [\d,]+ are free"
    ):
        put(small_disk, 10, kib=100)
    assert complete_steps(store) == [5]
    found, passed = newest(store)
    assert found is not None
    assert (found.manifest.step, passed) == (5, [])
    assert torch.equal(checkpoint.load_model(found)["weight"], tensors(5, 100).model["weight"])


def test_a_checkpoint_is_made_whole_where_an_unfinished_one_lies(run: Path) -> None:
    (run / key_of(15) / MANIFEST).unlink()
    damage(run, 15)
    put(run, 15)
    assert locate(str(run), print).manifest.step == 15


def test_a_damaged_newest_checkpoint_is_said_where_an_older_one_is_taken(run: Path) -> None:
    damage(run, 15)
    told: list[str] = []
    assert locate(str(run), told.append).manifest.step == 10
    assert len(told) == 1
    assert told[0].startswith(f"passed over a damaged checkpoint: {run / key_of(15)}/")
