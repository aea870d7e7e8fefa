"""Fine-tuning: carry weights into a network with other classes or a larger window, and account for each tensor.

The bias tables follow Microsoft's rule (Swin-Transformer utils.py load_pretrained: bicubic, align_corners
False, no antialias): the published 224 -> 384 results were made with it. timm's rule is another one, and on a
smooth table the two differ by a third of its range.
"""

import math
from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F

from data_shards.shardset import Value
from raytrain.errors import UsageError

TABLE, INDEX = "relative_position_bias_table", "relative_position_index"
HEADS = ("head", "fc", "heads.head")  # of Swin; of the convolutional networks; of ViT
MOST_LISTED = 5


class Account(Value):
    """What became of a checkpoint. Counts of tensors, but for the head, where rows of classes are counted."""

    carried: int
    interpolated: int
    window_from: int | None
    window_to: int | None
    head_carried: int
    head_fresh: int
    fresh_examples: tuple[str, ...]

    def lines(self) -> list[str]:
        """The account in words, for the terminal and the log."""
        lines = [f"{self.carried} tensors carried over as they are"]
        if self.interpolated:
            lines.append(
                f"{self.interpolated} bias tables interpolated from window {self.window_from} to {self.window_to} "
                "(bicubic, Microsoft's rule)"
            )
        lines.append(f"{self.head_carried} classes of the head carried over by WNID")
        if self.head_fresh:
            more = ", ..." if self.head_fresh > len(self.fresh_examples) else ""
            lines.append(
                f"{self.head_fresh} classes start fresh, unknown to the checkpoint: "
                f"{', '.join(self.fresh_examples)}{more}"
            )
        return lines


def adapt(
    source_state: dict[str, Tensor],
    source_classes: tuple[str, ...],
    target_model: nn.Module,
    target_classes: tuple[str, ...],
) -> tuple[dict[str, Tensor], Account]:
    """A whole state dict for `target_model`, and the account. The model itself is not changed.

    Classes are WNIDs: `source_classes[row]` names a row of the source's head. A class that the source does not
    know keeps the target's own initial row. Raises UsageError where any other tensor differs in name or shape.
    """
    own = target_model.state_dict()
    head = next(name for name in HEADS if f"{name}.weight" in own)
    source = {key: tensor for key, tensor in source_state.items() if not key.endswith(INDEX)}
    tables = {
        key: resize_table(source[key], window_of(own[key]))
        for key in own
        if key.endswith(TABLE) and key in source and source[key].shape[0] != own[key].shape[0]
    }
    heads = {f"{head}.weight", f"{head}.bias"}
    _refuse_differences(source | tables, own, heads, len(source_classes))
    rows = {wnid: row for row, wnid in enumerate(source_classes)}
    known = [label for label, wnid in enumerate(target_classes) if wnid in rows]
    fresh = [wnid for wnid in target_classes if wnid not in rows]
    state = {**own, **source, **tables}
    for key in heads:
        state[key] = own[key].clone()
        state[key][known] = source[key][[rows[target_classes[label]] for label in known]]
    windows = next(((window_of(source[key]), window_of(own[key])) for key in tables), (None, None))
    return state, Account(
        carried=len(source) - len(tables) - len(heads),
        interpolated=len(tables),
        window_from=windows[0],
        window_to=windows[1],
        head_carried=len(known),
        head_fresh=len(fresh),
        fresh_examples=tuple(fresh[:3]),
    )


def window_of(table: Tensor) -> int:
    """The window of a bias table [(2 window - 1)^2, heads]."""
    return (math.isqrt(table.shape[0]) + 1) // 2


def resize_table(table: Tensor, window: int) -> Tensor:
    """A bias table [(2 w - 1)^2, heads] for another window, by Microsoft's rule."""
    side, wanted = 2 * window_of(table) - 1, 2 * window - 1
    planes = table.T.reshape(1, -1, side, side)
    resized = F.interpolate(planes, size=(wanted, wanted), mode="bicubic", align_corners=False)
    return resized.reshape(-1, wanted**2).T.contiguous()


def _refuse_differences(
    source: dict[str, Tensor], own: dict[str, Tensor], heads: Iterable[str], source_classes: int
) -> None:
    """Raise UsageError unless names and shapes are equal, but for the number of the head's rows."""
    wanted = {key: tuple(tensor.shape) for key, tensor in own.items() if not key.endswith(INDEX)}
    wanted |= {key: (source_classes, *wanted[key][1:]) for key in heads}
    found = {key: tuple(tensor.shape) for key, tensor in source.items()}
    differing = [key for key in (wanted | found) if wanted.get(key) != found.get(key)]
    if differing:
        listed = "\n".join(
            f"  {key}: checkpoint {found.get(key, 'has none')}, model {wanted.get(key, 'has none')}"
            for key in differing[:MOST_LISTED]
        )
        more = len(differing) - MOST_LISTED
        raise UsageError(
            f"the checkpoint is of another network: {len(differing)} tensors differ from the recipe's model "
            f"(change the recipe's model, or --init another checkpoint)\n{listed}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
