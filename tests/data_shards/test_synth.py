"""Made-up photographs: the same bytes for the same options, classes as they were planned, nothing overwritten."""

import hashlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards.errors import DataUsageError
from data_shards.factors import COLOURS, LIMITS, SHAPES, TEXTURES, kinds
from data_shards.synth import SynthOptions, draw, synth

SMALL = SynthOptions(classes=3, images=4, val_images=2, size=24)


def quiet(images: int, of: int) -> None:
    pass


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_imagenet_layout_and_same_bytes_for_any_workers(tmp_path: Path) -> None:
    assert synth(tmp_path / "a", SMALL, 1, quiet) == 18
    synth(tmp_path / "b", SMALL, 2, quiet)
    made = contents(tmp_path / "a")
    assert made == contents(tmp_path / "b")
    assert len(made) == 19
    pattern = r"(train|val)/(n9\d{7})/\2_\d+\.JPEG|synth\.json"
    assert all(re.fullmatch(pattern, name) for name in made)


def test_bytes_are_pinned() -> None:
    # only to be changed on purpose: sets drawn before then no longer continue with the same pictures
    with Image.open(io.BytesIO(draw(kinds("22k", 2)[0], "train", 0, SynthOptions(size=32)))) as picture:
        assert (picture.size, picture.mode) == ((30, 30), "RGB")
        assert np.asarray(picture).mean((0, 1)).round().tolist() == [56, 89, 77]
    assert kinds("22k", 3)[1].name == "yellow waves crescent"
    assert [kind.wnid for kind in kinds("22k", 3)] == ["n90500020", "n90704010", "n90304030"]


def test_continues_what_was_broken_off(tmp_path: Path) -> None:
    synth(tmp_path / "whole", SMALL, 1, quiet)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    victims = sorted((tmp_path / "part").rglob("*.JPEG"))[::4]
    for victim in victims:
        victim.rename(victim.with_name(f".{victim.name}"))  # as a kill between write and rename leaves it
    assert synth(tmp_path / "part", SMALL, 1, quiet) == len(victims)
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert synth(tmp_path / "part", SMALL, 1, quiet) == 0


def test_refuses_other_options_and_foreign_directories(tmp_path: Path) -> None:
    synth(tmp_path / "a", SMALL, 1, quiet)
    before = contents(tmp_path / "a")
    with pytest.raises(DataUsageError, match="seed 0 there, 1 asked for"):
        synth(tmp_path / "a", SMALL.model_copy(update={"seed": 1}), 1, quiet)
    assert contents(tmp_path / "a") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(DataUsageError, match="not an empty directory"):
        synth(tmp_path / "mine", SMALL, 1, quiet)
    assert contents(tmp_path / "mine") == {"thesis.txt": b"dear"}


def test_too_many_classes_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataUsageError, match="--classes 97: the 1k space has 2 to 96"):
        synth(tmp_path / "a", SynthOptions(classes=97, space="1k"), 1, quiet)
    assert not (tmp_path / "a").exists()


@settings(deadline=None)
@given(small=st.integers(2, LIMITS["1k"]), large=st.integers(2, LIMITS["22k"]))
def test_half_of_the_small_space_is_in_the_large_one(small: int, large: int) -> None:
    one, other = set(kinds("1k", small)), set(kinds("22k", large))
    assert (len(one), len(other)) == (small, large)
    assert len({kind.wnid for kind in one | other}) == len(one | other)
    assert len(one & other) == min((small + 1) // 2, large)


def test_the_default_spaces_know_every_value_of_every_factor() -> None:
    large = kinds("22k", 48)
    assert {kind.shape for kind in large} == set(range(len(SHAPES)))
    assert {kind.texture for kind in large} == set(range(len(TEXTURES)))
    assert {kind.colour for kind in large} == set(range(len(COLOURS)))


def test_every_picture_is_another_and_near_the_size() -> None:
    kind = kinds("22k", 2)[0]
    raw = [draw(kind, split, n, SynthOptions(size=48)) for split in ("train", "val") for n in range(20)]
    assert len(set(raw)) == 40
    short = [min(Image.open(io.BytesIO(picture)).size) for picture in raw]
    assert min(short) >= 43
    assert max(short) <= 56
    assert len({Image.open(io.BytesIO(picture)).size for picture in raw}) > 10


def test_label_noise_is_in_train_alone_and_as_large_as_asked() -> None:
    clean, noisy = SynthOptions(classes=4, size=16), SynthOptions(classes=4, size=16, label_noise=0.25)
    kind = kinds("22k", 4)[0]

    def differing(split: str, count: int) -> int:
        return sum(draw(kind, split, n, clean) != draw(kind, split, n, noisy) for n in range(count))

    assert differing("val", 50) == 0
    assert 30 <= differing("train", 200) <= 72  # binomial(200, 0.25): 50 +- 3.5 sigma


def test_classes_can_be_told_apart_by_colour_alone_only_in_part() -> None:
    """A guard against pictures that all look alike, and against classes that one mean colour gives away."""
    options = SynthOptions(classes=6, size=24)

    def features(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows, labels = [], []
        for label, kind in enumerate(kinds("22k", 6)):
            for number in range(count):
                with Image.open(io.BytesIO(draw(kind, split, number, options))) as picture:
                    rows.append(np.asarray(picture.resize((4, 4)), np.float64).ravel() / 255)
                labels.append(label)
        return np.array(rows), np.array(labels)

    x, y = features("train", 50)
    held_x, held_y = features("val", 20)
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], np.eye(6)[y], rcond=None)[0]
    right = (np.c_[held_x, np.ones(len(held_x))] @ weights).argmax(1) == held_y
    assert 1.5 / 6 < right.mean() < 0.85


def test_a_seed_draws_others() -> None:
    kind = kinds("22k", 2)[0]
    digests = {
        hashlib.sha256(draw(kind, "train", 0, SynthOptions(seed=seed, size=16))).hexdigest()
        for seed in range(4)
    }
    assert len(digests) == 4
