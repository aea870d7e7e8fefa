"""Augmentation: each operation is torchvision's, the draws are the sample's own, and no strength crashes."""

import collections

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import TrivialAugmentWide, _apply_op

from data_shards import auto_augment
from data_shards.augment import sample_rng, train_image
from data_shards.auto_augment import (
    FULL,
    RAND,
    TRIVIAL,
    augmented,
    color_jitter,
    rand_augment,
    trivial_augment,
)
from data_shards.view import View


def photo(side=64):
    y, x = np.mgrid[0:side, 0:side]
    waves = [np.sin(x / (7 + c)) * np.cos(y / (11 + c)) * 100 + 128 for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 8, (side, side, 3))
    return Image.fromarray((np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8))


def difference(one, other):
    return np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean()


NAMES = [
    "Identity", "AutoContrast", "Equalize", "Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness",
    "Rotate", "ShearX", "TranslateX", "ShearY", "TranslateY",
]  # fmt: skip
MIRRORED = {"TranslateX", "TranslateY"}
"""Their direction is torchvision's other one, and each direction is as likely."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [-30, -17, -1, 0, 8, 23, 30])
def test_trivial_operations_are_torchvisions(name, step):
    magnitudes, signed = TrivialAugmentWide()._augmentation_space(31)[name]
    magnitude = magnitudes[abs(step)].item() if magnitudes.ndim else 0.0
    if signed and (step < 0) != (name in MIRRORED):
        magnitude = -magnitude
    theirs = _apply_op(photo(), name, magnitude, InterpolationMode.NEAREST, [0.0, 0.0, 0.0])
    ours = TRIVIAL[NAMES.index(name)](photo(), step / 30)
    assert difference(ours, theirs) < 0.6  # rotated and sheared pixels fall half a pixel elsewhere at edges
    assert (
        name not in {"Posterize", "Solarize", "Color", "TranslateX", "TranslateY"}
        or difference(ours, theirs) == 0
    )


RAND_NAMES = [
    "AutoContrast", "Equalize", "Invert", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness",
    "Sharpness", "Rotate", "ShearX", "TranslateX", "ShearY", "TranslateY",
]  # fmt: skip


def test_rand_operations_have_the_strengths_of_the_recipe():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    ops = dict(zip(RAND_NAMES, RAND, strict=True))
    red = {
        name: np.asarray(op(ramp, 0.9))[..., 0].ravel()
        for name, op in ops.items()
        if name[:2] in ("In", "Po", "So")
    }
    levels = np.arange(256)
    assert (red["Invert"] == 255 - levels).all()
    assert (red["Posterize"] == levels // 128 * 128).all()  # 4 - int(3.6) = 1 bit
    assert (red["Solarize"] == np.where(levels < 26, levels, 255 - levels)).all()  # 256 - int(230.4)
    assert (red["SolarizeAdd"] == np.where(levels < 128, np.minimum(255, levels + 99), levels)).all()
    white = Image.new("RGB", (100, 50), "white")
    moved = np.asarray(ops["TranslateX"](white, -0.9))
    assert (moved[:, :40] == auto_augment.MEAN_COLOUR).all()  # 0.9 x 0.45 x 100 = 40.5 pixels
    assert (moved[:, 42:] == 255).all()
    assert (np.asarray(ops["TranslateY"](white, 0.9))[-20:] == auto_augment.MEAN_COLOUR).all()
    grey = np.asarray(ops["Brightness"](white, -0.9))
    assert (grey == round(255 * 0.19)).all()  # 1 - 0.9 x 0.9


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(range(len(RAND))), st.sampled_from(range(len(TRIVIAL))), st.floats(-1, 1))
def test_any_strength_gives_a_picture_of_the_same_size(rand, trivial, strength):
    image = photo(16)
    for op in (RAND[rand], TRIVIAL[trivial]):
        assert (op(image, strength).size, op(image, strength).mode) == (image.size, "RGB")


class Recorder:
    """Operations that note their strength."""

    def __init__(self, count):
        self.calls = collections.defaultdict(list)
        self.ops = tuple(
            (lambda image, by, at=at: (self.calls[at].append(by), image)[1]) for at in range(count)
        )


def test_rand_augment_draws_as_timm(monkeypatch):
    recorder = Recorder(15)
    monkeypatch.setattr(auto_augment, "RAND", recorder.ops)
    for n in range(6000):
        rand_augment(None, 9, sample_rng(0, n))
    counts = np.array([len(recorder.calls[at]) for at in range(15)])
    strengths = np.concatenate([recorder.calls[at] for at in range(15)])
    assert counts.sum() == pytest.approx(6000 * 2 * 0.5, rel=0.05)
    assert abs(counts - 400).max() < 80  # 4 deviations
    assert 0.48 < (strengths > 0).mean() < 0.52
    magnitudes = abs(strengths) * FULL
    assert np.median(magnitudes) == pytest.approx(9, abs=0.03)
    assert magnitudes.std() == pytest.approx(0.5, rel=0.1)
    assert magnitudes.max() == FULL  # 2.3 % are cut off there: timm's crash


def test_trivial_augment_draws_evenly(monkeypatch):
    recorder = Recorder(14)
    monkeypatch.setattr(auto_augment, "TRIVIAL", recorder.ops)
    for n in range(6000):
        trivial_augment(None, sample_rng(0, n))
    counts = np.array([len(recorder.calls[at]) for at in range(14)])
    assert counts.sum() == 6000
    assert abs(counts - 6000 / 14).max() < 85
    steps = np.abs(np.concatenate([recorder.calls[at] for at in range(14)])) * 30
    assert np.bincount(steps.round().astype(int), minlength=31).min() > 130


def test_colour_jitter_keeps_to_its_strength():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    levels = [color_jitter(grey, 0.4, sample_rng(0, n)).getpixel((0, 0))[0] for n in range(400)]
    assert 58 <= min(levels) < 66
    assert 134 < max(levels) <= 141
    assert np.mean(levels) == pytest.approx(100, abs=4)


@pytest.mark.parametrize(
    "options", [{"auto_augment": "rand"}, {"auto_augment": "trivial"}, {"color_jitter": 0.4}]
)
def test_a_training_image_is_the_same_for_the_same_sample_and_leaves_the_crop_alone(options):
    pixels = torch.from_numpy(np.array(photo(96))).permute(2, 0, 1)
    view, plain = View(image_size=32, **options), View(image_size=32)
    first = [train_image(pixels, view, sample_rng(3, n)) for n in range(20)]
    assert all(torch.equal(one, train_image(pixels, view, sample_rng(3, n))) for n, one in enumerate(first))
    assert {(one.shape, one.dtype) for one in first} == {((3, 32, 32), torch.uint8)}
    crops = [train_image(pixels, plain, sample_rng(3, n)) for n in range(20)]
    changed = sum(not torch.equal(one, crop) for one, crop in zip(first, crops, strict=True))
    assert changed >= 10
    assert torch.equal(augmented(crops[0], plain, sample_rng(3, 0)), crops[0])


def test_bilinear_is_torchvisions_and_another_picture_than_bicubic():
    from torchvision.transforms.v2 import functional as vision

    pixels = torch.from_numpy(np.array(photo(96))).permute(2, 0, 1)
    whole = {"image_size": 40, "min_area": 1.0, "flip": 0.0}
    linear, cubic = (
        train_image(pixels, View(**whole, interpolation=how), sample_rng(0, 0))
        for how in ("bilinear", "bicubic")
    )
    theirs = vision.resize(pixels, [40, 40], interpolation=InterpolationMode.BILINEAR, antialias=True)
    assert difference(linear, theirs) < 0.05
    assert difference(linear, cubic) > 0.3


def test_jitter_beside_auto_augment_is_refused():
    with pytest.raises(ValueError, match="one of them has to be 0 or none"):
        View(color_jitter=0.4, auto_augment="rand")
