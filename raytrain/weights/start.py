"""The weights a fine-tune starts with: from a checkpoint of ours, or from a file of anybody's."""

from torch import Tensor, nn

from data_shards.class_lists import called, of_length
from raytrain.checkpoint import load_model
from raytrain.errors import RunError, UsageError
from raytrain.manifest import verify
from raytrain.models.spec import Spec
from raytrain.plan import Init
from raytrain.transfer import adapt, head_of
from raytrain.weights.files import read_tensors
from raytrain.weights.layouts import to_ours
from raytrain.weights.libraries import WORDS, differs
from raytrain.weights.source import planned_bytes, planned_classes


def starting_weights(
    init: Init, spec: Spec, module: nn.Module, classes: tuple[str, ...]
) -> tuple[dict[str, Tensor], list[str]]:
    """A whole state dict for `module`, and what was carried, in words.

    `classes` are the WNIDs of the data. Raises RunError where the start is not the planned one, UsageError where it
    is of another network.
    """
    if not init.class_list:
        source = verify(init.checkpoint)
        if source.manifest.digest != init.digest:
            raise RunError(
                f"{source.url} is another checkpoint than the one that was planned: digest "
                f"{source.manifest.digest[:12]}, the plan says {init.digest[:12]}. Plan again, or put it back"
            )
        state, account = adapt(load_model(source), source.card.classes, module, classes)
        return state, account.lines()
    given, layout = to_ours(read_tensors(planned_bytes(init), init.checkpoint))
    rows = planned_classes(init)
    _refuse_rows(given, rows, init)
    state, account = adapt(given, rows, module, classes)
    reason = differs(spec, layout)
    if reason is not None and layout != "torchvision":
        raise UsageError(f"{init.checkpoint} has {WORDS[layout]}, and {reason}")
    notes = [f"note, if this file is torchvision's: {reason}"] if reason else []  # its names are ours too
    return state, [f"{WORDS[layout]}, {called(rows)}", *notes, *account.lines()]


def _refuse_rows(state: dict[str, Tensor], classes: tuple[str, ...], init: Init) -> None:
    """Raise UsageError where the head has another number of rows than the list has classes."""
    head = head_of(state)
    if head is None or not state[f"{head}.weight"].ndim:  # the latter has its shape refused with all others
        return
    rows = state[f"{head}.weight"].shape[0]
    if rows == len(classes):
        return
    fitting = of_length(rows)
    raise UsageError(
        f"the head of {init.checkpoint} has {rows:,} rows, class list {init.class_list} names {len(classes):,}. "
        + (
            f"Of {rows:,} there are --init-classes {' and '.join(fitting)}"
            if fitting
            else "Give --init-classes the list of its classes"
        )
    )
