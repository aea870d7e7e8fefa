"""torchvision's and timm's networks in a bare loop, as their own trainers write it.

pytorch/vision references/classification/train.py and huggingface/pytorch-image-models train.py: cudnn.benchmark on,
autocast around network and loss, gradients dropped before backward, clipping, update, and the loss read in each step
(torchvision's logger; timm's, and a synchronize, on one device). Optimizer, its figures and clipping are our recipe's,
weight decay spares 1-D parameters where the recipe's does; bf16 and channels last are for all contenders alike
(`timm train.py --amp --amp-dtype bfloat16 --channels-last`).
"""

from typing import TYPE_CHECKING, Literal

from contenders.contender import NETWORKS, Case, Contender, LeftOutError, batch

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from raytrain.recipe import Recipe

CLASSES = 1000


def open_contender(case: Case, *, compiled: bool, library: Literal["timm", "torchvision"]) -> Contender:
    """LeftOutError where the library has no such network; ImportError where it is not installed."""
    import torch
    from torch.nn import functional as F

    from raytrain.recipes import recipe

    known = NETWORKS[case.network]
    wanted = recipe(known.recipe)
    module = timm_network(case) if library == "timm" else torchvision_network(known.torchvision)
    module.to(case.device, memory_format=torch.channels_last)
    optimizer = make_optimizer(module, wanted, case.batch)
    if compiled:
        module.compile()
    images, targets = batch(case, CLASSES)
    clip = wanted.optimizer.clip_norm

    def step() -> float:
        with torch.autocast(case.device, torch.bfloat16):
            loss = F.cross_entropy(module(images), targets)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        return loss.item()

    return Contender(step, cudnn_benchmark=True)


def timm_network(case: Case) -> "nn.Module":
    """Its fused attention is on where timm has it on."""
    import timm

    known = NETWORKS[case.network]
    return timm.create_model(known.timm, num_classes=CLASSES, **known.timm_options)


def torchvision_network(name: str | None) -> "nn.Module":
    """Its builder's; ResNeXt101 32x4d, which has none, of its class."""
    from torchvision import models
    from torchvision.models.resnet import Bottleneck, ResNet

    if name is None:
        raise LeftOutError("it has no such network")
    if name == "resnext101_32x4d":
        return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)
    return models.get_model(name, weights=None, num_classes=CLASSES)


def make_optimizer(module: "nn.Module", recipe: "Recipe", images: int) -> "Optimizer":
    """torch's, in two groups: with weight decay and without."""
    import torch

    wanted = recipe.optimizer
    lr = wanted.lr * images / wanted.lr_batch
    groups = [
        {
            "params": [one for one in module.parameters() if (wanted.decay_all or one.ndim > 1) == decays],
            "weight_decay": decay,
        }
        for decays, decay in ((True, wanted.weight_decay), (False, 0.0))
    ]
    if wanted.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=wanted.betas, eps=wanted.eps)
    return torch.optim.SGD(groups, lr=lr, momentum=wanted.momentum)
