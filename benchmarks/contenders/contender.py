"""What is compared: the networks, who trains them, and the batch that all of them train on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class LeftOutError(Exception):
    """A contender is out of the comparison; the message says why."""


class Network(NamedTuple):
    """A network of raytrain's by its name there, the recipe whose optimizer trains it, and what it is elsewhere.

    `torchvision` is None where that has no such network. timm's CBAM differs from ours (the authors') in having no
    biases in its MLP.
    """

    recipe: str
    torchvision: str | None
    timm: str
    timm_options: dict[str, Any]


NETWORKS = {
    "swin_t": Network("swin_t_1k_224", "swin_t", "swin_tiny_patch4_window7_224", {"drop_path_rate": 0.2}),
    "swin_b": Network("swin_b_1k_224", "swin_b", "swin_base_patch4_window7_224", {"drop_path_rate": 0.5}),
    "resnet18": Network("resnet18_1k_2018", "resnet18", "resnet18", {}),
    "resnext50_32x4d": Network("resnext50_1k_2018", "resnext50_32x4d", "resnext50_32x4d", {}),
    "resnext101_32x4d": Network("resnext101_1k_2018", "resnext101_32x4d", "resnext101_32x4d", {}),
    "resnext101_32x4d_cbam": Network(
        "cbam_resnext101_1k_2018", None, "resnext101_32x4d", {"block_args": {"attn_layer": "cbam"}}
    ),
}
"""torchvision's builders fix the same drop path."""


class Case(NamedTuple):
    """A network, `batch` images of `side` pixels, and how a turn goes: `settle` steps untimed, then `steps` timed."""

    network: str
    batch: int
    side: int
    device: str
    rounds: int
    settle: int
    steps: int
    compiled: bool
    """Whether torch.compile takes part."""


class Contender(NamedTuple):
    """Ready to train. `step` makes one optimizer step and returns its loss; then the device has nothing left to do."""

    step: Callable[[], float]
    cudnn_benchmark: bool
    """What its trainer sets torch.backends.cudnn.benchmark to."""


class Row(NamedTuple):
    """A contender by its title: its module in `contenders`, and the arguments of its `open_contender`."""

    title: str
    module: str
    options: dict[str, str]
    compiled: bool


BASE = "raytrain"
WHO = {
    BASE: ("ours", {"engine": "torch"}),
    "timm": ("peers", {"library": "timm"}),
    "torchvision": ("peers", {"library": "torchvision"}),
    "raytrain, DeepSpeed": ("ours", {"engine": "deepspeed"}),
}
ROWS = [
    Row(f"{title}{', compiled' if compiled else ''}", *who, compiled)
    for compiled in (False, True)
    for title, who in WHO.items()
]
"""In the order of preparing: where time ends, the last are left out."""


def batch(case: Case, classes: int) -> tuple["Tensor", "Tensor"]:
    """Images [batch, 3, side, side] as normalized, channels last, and soft targets [batch, classes] as mixup's are."""
    import torch

    draw = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, case.side, case.side, generator=draw)
    targets = torch.rand(case.batch, classes, generator=draw).softmax(1)
    return images.to(case.device, memory_format=torch.channels_last), targets.to(case.device)
