"""Fine-tuning: carry weights into a network with other classes or a larger window, and account for each tensor."""

from collections.abc import Iterable

from torch import Tensor, nn

from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.weights.likeness import likeness
from raytrain.weights.windows import INDEX, TABLE, is_table, resize_table, window_of

HEADS = ("head", "fc", "heads.head")  # of Swin; of the convolutional networks; of ViT
COUNT = "num_batches_tracked"  # files from before PyTorch 0.4.1 have none, and nothing of ours reads it
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
    head_left: int

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
        if self.head_left:
            lines.append(f"{self.head_left} classes of the checkpoint are left behind, unknown to the data")
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
    head = head_of(own)
    assert head is not None, "every network of ours has one"
    source = {key: tensor for key, tensor in source_state.items() if not key.endswith(INDEX)}
    norms = [key.removesuffix("running_mean") for key in source if key.endswith("running_mean")]
    source = {norm + COUNT: own[norm + COUNT] for norm in norms if norm + COUNT in own} | source
    tables = {
        key: resize_table(source[key], window_of(own[key]))
        for key in own
        if key.endswith(TABLE)
        and key in source
        and is_table(source[key])
        and source[key].shape[0] != own[key].shape[0]
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
        head_left=len(source_classes) - len(known),
    )


def head_of(state: dict[str, Tensor]) -> str | None:
    """The name of the head's layer; None where there is none."""
    return next((name for name in HEADS if f"{name}.weight" in state), None)


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
        in_both = len(wanted.keys() & found.keys())
        shapes = sum(key in wanted and key in found for key in differing)
        raise UsageError(
            f"the checkpoint is of another network: {len(differing)} tensors differ from the recipe's model: "
            f"{shapes} in shape, {len(found) - in_both} are in the checkpoint only, "
            f"{len(wanted) - in_both} in the model only. It looks like {likeness(source) or 'no network we know'} "
            f"(change the recipe's model, or --init another checkpoint)\n{listed}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
