"""The gates of a ResNet or ResNeXt as the CBAM authors and timm name them; all else has torchvision's names everywhere.

    ours                     the authors (Jongchan/attention-module)     timm (se* networks)
    cbam.mlp.{fc1,fc2}       cbam.ChannelGate.mlp.{1,3}
    cbam.{conv,bn}           cbam.SpatialGate.spatial.{conv,bn}
    se.mlp.{fc1,fc2}                                                     se.{fc1,fc2}, as 1x1 convolutions

Sources: Jongchan/attention-module at 459efad MODELS/cbam.py; timm 1.0.31 layers/squeeze_excite.py.
"""

import re

from torch import Tensor

CBAM = {
    "cbam.mlp.fc1": "cbam.ChannelGate.mlp.1",
    "cbam.mlp.fc2": "cbam.ChannelGate.mlp.3",
    "cbam.conv": "cbam.SpatialGate.spatial.conv",
    "cbam.bn": "cbam.SpatialGate.spatial.bn",
}


def to_cbam(name: str) -> str:
    """The CBAM authors' name of a tensor of ours, without DataParallel's prefix."""
    for ours, theirs in CBAM.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def from_cbam(name: str) -> str:
    """Our name of a tensor of the CBAM authors'."""
    for ours, theirs in CBAM.items():
        name = name.replace(f".{theirs}.", f".{ours}.")
    return name


def to_timm(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Timm's name and shape of a tensor of ours."""
    theirs = re.sub(r"\.se\.mlp\.(fc[12])\.", r".se.\1.", name)
    return theirs, tensor[:, :, None, None] if theirs != name and tensor.ndim == 2 else tensor


def from_timm(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Our name and shape of a tensor of timm's."""
    ours = re.sub(r"\.se\.(fc[12])\.", r".se.mlp.\1.", name)
    return ours, tensor.flatten(1) if ours != name and tensor.ndim == 4 else tensor
