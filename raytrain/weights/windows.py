"""Swin's relative position bias tables, and a table for another window.

Microsoft's rule (Swin-Transformer utils.py load_pretrained: bicubic, align_corners False, no antialias): the published
224 -> 384 results were made with it. timm's rule is another one, and on a smooth table the two differ by a third of
its range.
"""

import math

from torch import Tensor
from torch.nn import functional as F

TABLE, INDEX = "relative_position_bias_table", "relative_position_index"


def window_of(table: Tensor) -> int:
    """The window of a bias table [(2 window - 1)^2, heads]."""
    return (math.isqrt(table.shape[0]) + 1) // 2


def is_table(tensor: Tensor) -> bool:
    """Whether it has the shape of a bias table, of any window."""
    return tensor.ndim == 2 and tensor.shape[0] == (2 * window_of(tensor) - 1) ** 2


def resize_table(table: Tensor, window: int) -> Tensor:
    """A bias table [(2 w - 1)^2, heads] for another window, by Microsoft's rule."""
    side, wanted = 2 * window_of(table) - 1, 2 * window - 1
    planes = table.T.reshape(1, -1, side, side)
    resized = F.interpolate(planes, size=(wanted, wanted), mode="bicubic", align_corners=False)
    return resized.reshape(-1, wanted**2).T.contiguous()
