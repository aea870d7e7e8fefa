"""Crops: the same boxes as a formula, the same pixels as torchvision, the same draws for the same sample."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from data_shards.augment import crop_box, eval_image, sample_rng, train_image
from data_shards.view import View

SIDES = st.integers(1, 3000)


def photo(width, height):
    """Smooth structure with a little noise, as photographs have."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + c)) * np.cos(y / (11 + c)) * 100 + 128 for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 8, (3, height, width))
    return torch.from_numpy((np.stack(waves) + noise).clip(0, 255).astype(np.uint8))


def difference(a, b):
    return (a.int() - b.int()).abs().float().mean().item()


@given(SIDES, SIDES, st.floats(0.01, 1), st.integers(0, 2**40))
def test_a_box_lies_in_the_picture(width, height, min_area, n):
    box, _ = crop_box(width, height, View(min_area=min_area), sample_rng(1, n))
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert box.height > 0
    assert box.width > 0


def test_boxes_have_the_areas_and_ratios_of_the_recipe():
    drawn = [crop_box(2000, 2000, View(min_area=0.1), sample_rng(3, n)) for n in range(4000)]
    boxes = [box for box, _ in drawn]
    areas = np.array([box.height * box.width for box in boxes]) / 2000**2
    ratios = np.log([box.width / box.height for box in boxes])
    assert 0.099 < areas.min() < 0.11
    # a miss (a box that sticks out) is drawn again, which is rarer for small areas: the mean is below 0.55
    assert 0.48 < areas.mean() < 0.55
    assert abs(ratios).max() <= np.log(4 / 3) + 0.01
    assert abs(ratios.mean()) < 0.01
    assert 0.47 < np.mean([flip for _, flip in drawn]) < 0.53


def test_boxes_are_distributed_as_in_torchvision():
    torch.manual_seed(0)
    image = torch.empty(3, 300, 400, dtype=torch.uint8)
    crop = v2.RandomResizedCrop(224)
    theirs = np.array(
        [
            [p["top"], p["left"], p["height"], p["width"]]
            for p in (crop.make_params([image]) for _ in range(3000))
        ]
    )
    ours = np.array([crop_box(400, 300, View(), sample_rng(0, n))[0] for n in range(3000)])
    error = theirs.std(axis=0) / np.sqrt(3000)
    assert (abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * error).all()
    assert ours.std(axis=0) == pytest.approx(theirs.std(axis=0), rel=0.08)


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(10, 1000, (493, 0, 13, 10)), (1000, 10, (0, 493, 10, 13))]
)
def test_a_strip_falls_back_to_its_centre(width, height, expected):
    assert crop_box(width, height, View(min_area=0.9), sample_rng(0, 0))[0] == expected


def test_the_draws_of_a_sample_never_change():
    # Only change this if you know why: it changes the pixels of every run in the world.
    assert crop_box(500, 375, View(), sample_rng(7, 10**9)) == ((150, 108, 217, 267), False)
    assert sample_rng(7, 1).random() != sample_rng(7, 2).random() != sample_rng(8, 2).random()


@pytest.mark.parametrize("n", range(6))
def test_a_training_image_is_torchvisions_of_the_same_box(n):
    image, view = photo(500, 375), View(image_size=96)
    (top, left, height, width), flip = crop_box(500, 375, view, sample_rng(0, n))
    theirs = vision.resized_crop(
        image, top, left, height, width, [96, 96], interpolation=v2.InterpolationMode.BICUBIC, antialias=True
    )
    theirs = vision.horizontal_flip(theirs) if flip else theirs
    ours = train_image(image, view, sample_rng(0, n))
    assert (ours.shape, ours.dtype) == ((3, 96, 96), torch.uint8)
    assert difference(ours, theirs) < 0.05


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 501), (640, 640), (100, 300)])
def test_an_evaluation_image_is_torchvisions(width, height):
    image = photo(width, height)
    bicubic = v2.InterpolationMode.BICUBIC
    theirs = v2.Compose([v2.Resize(256, interpolation=bicubic, antialias=True), v2.CenterCrop(224)])(image)
    assert difference(eval_image(image, View()), theirs) < 0.05


def test_a_whole_view_squashes():
    image = photo(300, 200)
    theirs = vision.resize(image, [384, 384], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    assert difference(eval_image(image, View(image_size=384, eval_crop=1.0)), theirs) < 0.05


def test_crops_do_not_change_the_source():
    image = photo(60, 40)
    before = image.clone()
    train_image(image, View(image_size=32, flip=1), sample_rng(0, 0)).zero_()
    eval_image(image, View(image_size=32)).zero_()
    assert torch.equal(image, before)
