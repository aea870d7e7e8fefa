"""Many small networks trained at once, each with its own data, seed and recipe: matrices are stacked and multiplied.

A network's numbers do not depend on the others: its generator is its own, and all sums run over its own images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 64
BETAS, EPSILON = (0.9, 0.99), 1e-8
WARMUP = 0.1
RATIO_EVERY = 10  # steps between two looks at the size of an update


@dataclass(frozen=True)
class Fit:
    """One training: a network of one hidden layer, AdamW, warmup and a cosine to 0.

    pixels, labels     [n, pixels], [n]: what it is trained on, in the order of its shards
    seed               of its initialisation and its order
    shuffled           False: it reads its images in their order, again and again
    loss_scale         gradients are held in fp16, times this, as in mixed precision; 0: in fp32
    """

    pixels: Tensor
    labels: Tensor
    classes: int
    seed: int
    width: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.0
    steps: int = 400
    shuffled: bool = True
    loss_scale: float = 0.0


@dataclass(frozen=True)
class Fitted:
    """A trained network, and what was seen on the way. `non_finite`: steps whose gradient was not a number."""

    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    initial_loss: float
    grad_norms: tuple[float, ...]
    update_ratio: float
    non_finite: int

    def answers(self, pixels: Tensor) -> Tensor:
        """The label that it finds likeliest, per image."""
        a, b, c, d = self.weights
        return (torch.relu(pixels @ a + b) @ c + d).argmax(1)


def fit(fits: Sequence[Fit]) -> list[Fitted]:
    """Train all; those of one shape at once."""
    shapes: dict[tuple[int, int, int, float], list[int]] = {}
    for index, one in enumerate(fits):
        key = (one.width, one.steps, one.classes, one.loss_scale)
        shapes.setdefault(key, []).append(index)
    fitted: dict[int, Fitted] = {}
    for indices in shapes.values():
        fitted |= dict(zip(indices, _fit_alike([fits[index] for index in indices]), strict=True))
    return [fitted[index] for index in range(len(fits))]


def _fit_alike(fits: Sequence[Fit]) -> list[Fitted]:
    """Networks of one shape: every tensor's first dimension is the network."""
    first, count = fits[0], len(fits)
    rngs = [torch.Generator().manual_seed(one.seed) for one in fits]
    net = _initial(first, rngs)
    order = torch.stack([_order(one, rng) for one, rng in zip(fits, rngs, strict=True)])
    pixels, labels = _stacked(fits, order)
    lr, decay = (
        torch.tensor([getattr(one, name) for one in fits])[:, None, None] for name in ("lr", "weight_decay")
    )
    mean, square = ([torch.zeros_like(each) for each in net] for _ in range(2))
    initial, norms, ratios = torch.zeros(count), [], []
    non_finite = torch.zeros(count, dtype=torch.int64)
    for step in range(first.steps):
        loss, gradients = _gradients(net, pixels[order[:, step]], labels[order[:, step]])
        if first.loss_scale:
            gradients = [(each * first.loss_scale).half().float() / first.loss_scale for each in gradients]
        if step == 0:
            initial = loss
        norm = torch.stack([each.square().sum((1, 2)) for each in gradients]).sum(0).sqrt()
        bad = ~norm.isfinite()
        if bad.any():  # such a step is not applied
            non_finite += bad
            gradients = [each.masked_fill(bad[:, None, None], 0.0) for each in gradients]
        norms.append(norm)
        rate = lr * _schedule(step, first.steps)
        torch._foreach_lerp_(mean, gradients, 1 - BETAS[0])
        torch._foreach_mul_(square, BETAS[1])
        torch._foreach_addcmul_(square, gradients, gradients, 1 - BETAS[1])
        unbiased = math.sqrt(1 - BETAS[1] ** (step + 1))
        for weights, m, s in zip(net, mean, square, strict=True):
            update = m.div(s.sqrt().add_(EPSILON)).mul_(rate * (unbiased / (1 - BETAS[0] ** (step + 1))))
            if weights is net[0] and step % RATIO_EVERY == RATIO_EVERY // 2:
                ratios.append(update.norm(dim=(1, 2)) / weights.norm(dim=(1, 2)))
            if weights.shape[1] > 1:  # no decay of biases
                weights.mul_(1 - rate * decay)
            weights.sub_(update)
    every_norm, ratio = torch.stack(norms, 1), torch.stack(ratios, 1).median(1).values
    return [
        Fitted(
            (net[0][i], net[1][i], net[2][i], net[3][i]),
            initial[i].item(),
            tuple(every_norm[i].tolist()),
            ratio[i].item(),
            int(non_finite[i]),
        )
        for i in range(count)
    ]


def _initial(first: Fit, rngs: Sequence[torch.Generator]) -> list[Tensor]:
    """Weights and biases of both layers; the head is small, so that all classes begin equally likely."""
    pixels = first.pixels.shape[1]
    layers = ((pixels, first.width, pixels**-0.5), (first.width, first.classes, 0.1 * first.width**-0.5))
    net = []
    for inputs, outputs, scale in layers:
        net.append(torch.stack([scale * torch.randn(inputs, outputs, generator=rng) for rng in rngs]))
        net.append(torch.zeros(len(rngs), 1, outputs))
    return net


def _gradients(net: list[Tensor], pixels: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The mean loss of each network [n], and its gradients. By hand: autograd takes half as long again."""
    hidden = torch.baddbmm(net[1], pixels, net[0]).relu_()
    outputs = torch.baddbmm(net[3], hidden, net[2])
    logs = outputs.log_softmax(2)
    loss = -logs.gather(2, labels[..., None]).mean((1, 2))
    error = logs.exp_()
    error.scatter_add_(2, labels[..., None], torch.full_like(labels[..., None], -1.0, dtype=error.dtype))
    error /= BATCH
    back = torch.bmm(error, net[2].transpose(1, 2)).mul_(hidden > 0)
    return loss, [
        torch.bmm(pixels.transpose(1, 2), back),
        back.sum(1, keepdim=True),
        torch.bmm(hidden.transpose(1, 2), error),
        error.sum(1, keepdim=True),
    ]


def _schedule(step: int, steps: int) -> float:
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _order(one: Fit, rng: torch.Generator) -> Tensor:
    """Which image is when: [steps, batch]."""
    count, needed = len(one.labels), one.steps * BATCH
    epochs = math.ceil(needed / count)
    passes = [
        torch.randperm(count, generator=rng) if one.shuffled else torch.arange(count) for _ in range(epochs)
    ]
    return torch.cat(passes)[:needed].view(one.steps, BATCH)


def _stacked(fits: Sequence[Fit], order: Tensor) -> tuple[Tensor, Tensor]:
    """All data that is trained on, each set once; `order` is moved to where each fit's begins."""
    sets = {(id(one.pixels), id(one.labels)): one for one in fits}
    starts = dict(
        zip(sets, torch.tensor([0] + [len(one.labels) for one in sets.values()]).cumsum(0), strict=False)
    )
    order += torch.stack([starts[id(one.pixels), id(one.labels)] for one in fits])[:, None, None]
    return torch.cat([one.pixels for one in sets.values()]), torch.cat([one.labels for one in sets.values()])
