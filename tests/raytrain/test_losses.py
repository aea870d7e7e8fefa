"""Pixels and targets: the same on any number of workers, and right by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2.functional import normalize as torchvision_normalize

from raytrain.losses import erase, mix, normalize, soft_cross_entropy
from raytrain.recipe import Regularization

SWIN = Regularization(label_smoothing=0.1, mixup=0.8, cutmix=1.0, random_erasing=0.25)
MIXUP = Regularization(label_smoothing=0.0, mixup=0.8, cutmix=0.0)
CUTMIX = Regularization(label_smoothing=0.0, mixup=0.0, cutmix=1.0)
CLASSES = 10


def batch(size, side=16):
    generator = torch.Generator().manual_seed(size)
    images = torch.randn(size, 3, side, side, generator=generator)
    return images, torch.randint(CLASSES, (size,), generator=generator), torch.arange(1000, 1000 + size)


def prepared(images, labels, slots, regularization, seed=7):
    images = erase(images, regularization, seed=seed, slots=slots)
    return mix(images, labels, classes=CLASSES, regularization=regularization, seed=seed, slots=slots)


@pytest.mark.parametrize("micro", [4, 2])
def test_the_same_images_and_targets_on_more_workers(micro):
    images, labels, slots = batch(8)
    whole = prepared(images, labels, slots, SWIN)
    parts = [
        prepared(*part, SWIN)
        for part in zip(images.split(micro), labels.split(micro), slots.split(micro), strict=True)
    ]
    for together, apart in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(together, torch.cat(apart))
    assert not torch.equal(whole[0], prepared(images, labels, slots, SWIN, seed=8)[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.sampled_from([SWIN, MIXUP, CUTMIX]))
def test_a_pair_shares_one_blend_and_targets_follow_the_pixels(seed, pair, regularization):
    images = torch.stack([torch.zeros(3, 9, 14), torch.ones(3, 9, 14)])
    mixed, targets = mix(
        images,
        torch.tensor([2, 5]),
        classes=CLASSES,
        regularization=regularization,
        seed=seed,
        slots=torch.tensor([2 * pair, 2 * pair + 1]),
    )
    torch.testing.assert_close(mixed[0] + mixed[1], torch.ones(3, 9, 14))
    smoothing = regularization.label_smoothing
    wanted = float(mixed[0].mean()) * (1 - smoothing) + smoothing / CLASSES
    assert float(targets[0, 5]) == pytest.approx(wanted, abs=1e-6)
    assert float(targets[1, 2]) == pytest.approx(wanted, abs=1e-6)
    torch.testing.assert_close(targets.sum(1), torch.ones(2))


def test_mixup_blends_evenly_and_cutmix_swaps_a_box():
    images = torch.arange(2).view(2, 1, 1, 1).expand(2, 3, 32, 32).float().repeat(300, 1, 1, 1)
    slots, labels = torch.arange(600), torch.arange(2).repeat(300)
    blended, _ = mix(images, labels, classes=2, regularization=MIXUP, seed=0, slots=slots)
    assert (blended.amax((1, 2, 3)) - blended.amin((1, 2, 3))).max() == 0
    shares = blended[::2, 0, 0, 0].numpy()
    assert shares.mean() == pytest.approx(0.5, abs=0.06)
    assert shares.std() == pytest.approx(np.sqrt(1 / (4 * (2 * 0.8 + 1))), abs=0.04)  # of Beta(0.8, 0.8)
    cut, _ = mix(images, labels, classes=2, regularization=CUTMIX, seed=0, slots=slots)
    assert set(cut.unique().tolist()) == {0.0, 1.0}
    both, _ = mix(images, labels, classes=2, regularization=SWIN, seed=0, slots=slots)
    boxed = (both[::2].amax((1, 2, 3)) == 1).float().mean()
    assert float(boxed) == pytest.approx(0.5, abs=0.1)


def test_without_mixing_only_the_labels_are_smoothed_and_odd_batches_are_fine():
    images, labels, slots = batch(3)
    plain = Regularization(label_smoothing=0.2, mixup=0.0, cutmix=0.0)
    same, targets = prepared(images, labels, slots, plain)
    assert same is images
    wanted = torch.full((3, CLASSES), 0.02).scatter_(1, labels[:, None], 0.82)
    torch.testing.assert_close(targets, wanted)


@pytest.mark.parametrize("slots", [[4, 5, 6], [5, 6], [4, 6]])
def test_what_is_no_row_of_pairs_is_a_programmers_mistake(slots):
    images, labels, _ = batch(len(slots))
    with pytest.raises(AssertionError, match="neighbouring slots"):
        mix(images, labels, classes=CLASSES, regularization=SWIN, seed=0, slots=torch.tensor(slots))


def test_erasing_puts_noise_of_unit_size_into_one_box_of_a_quarter_of_the_images():
    images = torch.full((400, 3, 32, 32), 9.0)
    erased = erase(images, SWIN, seed=0, slots=torch.arange(400))
    touched = (erased != 9).all(1)
    share = touched.flatten(1).float().mean(1)
    assert float((share > 0).float().mean()) == pytest.approx(0.25, abs=0.06)
    assert float(share.max()) < 0.36
    assert float(share[share > 0].min()) > 0.01
    for mask in touched[share > 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)
        assert int(rows.int().diff().abs().sum()) <= 2  # one stretch
    assert float(erased[erased != 9].std()) == pytest.approx(1.0, abs=0.03)
    assert (images == 9).all()


def test_normalize_is_torchvisions():
    images = torch.randint(256, (2, 3, 5, 5), dtype=torch.uint8)
    wanted = torchvision_normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(normalize(images), wanted)


def test_the_loss_is_computed_in_fp32_whatever_the_logits():
    logits = torch.randn(4, CLASSES).bfloat16()
    targets = torch.softmax(torch.randn(4, CLASSES), 1)
    wanted = -(targets.double() * torch.log_softmax(logits.double(), 1)).sum(1).mean()
    loss = soft_cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
