"""From uint8 images and labels to what the network is trained on: normalize, erase, mix; and the loss.

What is random is a pure function of (seed, slot, repeat): a slot is a sample's place in the data's endless order, and
a batch may hold it several times.
So a sample is treated the same on any number of workers and after any restart.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_shards.order import philox
from raytrain.recipe import Distillation, Regularization

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIXING, ERASING = 3, 4  # purposes of Philox keys, after data_shards.order's 0, 1, 2


def normalize(images: Tensor) -> Tensor:
    """uint8 [b, 3, H, W] to fp32 with ImageNet's mean and deviation per channel (torchvision, timm constants.py)."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return images.float().div_(255).sub_(mean).div_(std)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over the batch, in fp32. Logits [b, classes] of any precision, targets [b, classes] summing to 1."""
    return F.cross_entropy(logits.float(), targets.float())


def distilled(logits: Tensor, targets: Tensor, *, teacher: Tensor, distillation: Distillation) -> Tensor:
    """1 - alpha of the labels' loss and alpha of the teacher's, whose logits [b, classes] are of the same images.

    Hard: cross-entropy against its first answer. Soft: T^2 x KL(teacher at T || student at T), the mean over the batch
    (Hinton et al. 2015); facebookresearch/deit losses.py divides it by the number of classes too.
    """
    own = soft_cross_entropy(logits, targets)
    if distillation.kind == "hard":
        taught = F.cross_entropy(logits.float(), teacher.argmax(1))
    else:
        t = distillation.temperature
        student, wanted = (F.log_softmax(scores.float() / t, 1) for scores in (logits, teacher))
        taught = t**2 * F.kl_div(student, wanted, reduction="batchmean", log_target=True)
    return (1 - distillation.alpha) * own + distillation.alpha * taught


def erase(images: Tensor, regularization: Regularization, *, seed: int, slots: Tensor) -> Tensor:
    """Random erasing: with chance `random_erasing`, a rectangle of a normalized image becomes unit noise per pixel.

    Zhong et al. 2017, as timm's RandomErasing(mode="pixel"): area 2% to 33%, aspect ratio 0.3 to 3.3,
    log-uniform. Images float [r b, 3, H, W], slots int64 [b] on the CPU (data_shards.batch); returns new images.
    """
    if regularization.random_erasing == 0:
        return images
    images = images.clone()
    draws = product(range(len(images) // len(slots)), slots.tolist())
    for image, (repeat, slot) in zip(images, draws, strict=True):
        rng = np.random.Generator(philox(seed, ERASING, slot, repeat))
        if rng.random() < regularization.random_erasing:
            rows, columns = _erased_box(rng, image.shape[1], image.shape[2])
            hole = image[:, rows, columns]
            noise = rng.standard_normal(hole.shape, dtype=np.float32)
            hole.copy_(torch.from_numpy(noise))
    return images


def _erased_box(rng: np.random.Generator, height: int, width: int) -> tuple[slice, slice]:
    area = rng.uniform(0.02, 1 / 3) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
    tall = min(height, max(1, round(np.sqrt(area * aspect))))
    wide = min(width, max(1, round(np.sqrt(area / aspect))))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


class Blend(NamedTuple):
    """How a pair is mixed: inside the box a picture keeps `kept` of itself and takes the rest of the other."""

    kept: float
    top: int
    bottom: int
    left: int
    right: int


def mix(
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    regularization: Regularization,
    seed: int,
    slots: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix within pairs of neighbouring slots, and label smoothing.

    Images normalized float [r b, 3, H, W], labels int64 [r b], slots int64 [b] on the CPU, two neighbours from
    an even one each. Returns images of the same shape and targets fp32 [r b, classes]. Both pictures of a pair
    get the same share of the other (timm's mode="pair", timm/data/mixup.py, with the pair next to each other).
    """
    smoothing = regularization.label_smoothing
    targets = F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes
    if regularization.mixup == 0 and regularization.cutmix == 0:
        return images, targets
    firsts = slots[::2].tolist()
    neighbours = [slot - slot % 2 + i for slot in firsts for i in (0, 1)]
    assert slots.tolist() == neighbours, "pairs are neighbouring slots from an even one"
    height, width = images.shape[2:]
    pairs = product(range(len(images) // len(slots)), firsts)
    blends = torch.tensor([_blend(regularization, height, width, seed, *pair) for pair in pairs])
    kept = _kept(blends.to(images.device), height, width)
    return _exchange(images, kept[:, None, None]), _exchange(targets, kept.mean((1, 2))[:, None, None])


def _exchange(values: Tensor, kept: Tensor) -> Tensor:
    """[b, ...]: each value keeps `kept` ([b / 2, 1, ...]) of itself and takes the rest of its neighbour."""
    pairs = values.view(-1, 2, *values.shape[1:])
    return (kept * pairs + (1 - kept) * pairs.flip(1)).flatten(0, 1)


def _kept(blends: Tensor, height: int, width: int) -> Tensor:
    """Per pair and pixel, how much a picture keeps of itself: [pairs, H, W] from [pairs, 5] Blends."""
    inside, top, bottom, left, right = blends[:, :, None, None].unbind(1)
    row = torch.arange(height, device=blends.device)[:, None]
    column = torch.arange(width, device=blends.device)
    boxed = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    return torch.where(boxed, inside, 1.0)


def _blend(
    regularization: Regularization, height: int, width: int, seed: int, repeat: int, slot: int
) -> Blend:
    """All of the picture (mixup, Zhang et al. 2018) or a box of area 1 - lam (CutMix, Yun et al. 2019)."""
    rng = np.random.Generator(philox(seed, MIXING, slot, repeat))
    mixup, cutmix = regularization.mixup, regularization.cutmix
    cut = rng.random() < 0.5 if mixup > 0 and cutmix > 0 else cutmix > 0
    if not cut:
        return Blend(rng.beta(mixup, mixup), 0, height, 0, width)
    side = np.sqrt(1 - rng.beta(cutmix, cutmix))
    top, bottom = _span(rng, height, side)
    left, right = _span(rng, width, side)
    return Blend(0.0, top, bottom, left, right)


def _span(rng: np.random.Generator, length: int, share: float) -> tuple[int, int]:
    """A stretch of `share * length` around a uniform centre, clipped to the picture (timm's rand_bbox)."""
    centre, half = int(rng.integers(length)), int(length * share) // 2
    return max(0, centre - half), min(length, centre + half)
