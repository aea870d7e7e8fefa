"""`raytrain export`: the weights of a checkpoint for other libraries, and the list of its head's classes."""

import hashlib
from collections.abc import Callable

from data_shards.shardset import Value
from data_shards.store import NotFoundError, Store, open_store
from raytrain.errors import UsageError
from raytrain.manifest import Checkpoint, check_average, locate
from raytrain.weights.libraries import INSIDE, LAYOUTS, Layout, check_layout
from raytrain.weights.source import SUFFIXES, is_weights_file


class Exported(Value):
    """What was written. `classes_file` has a WNID per line: line i is row i of the head."""

    checkpoint: str
    layout: Layout
    file: str
    tensors: int
    bytes: int
    sha256: str
    classes_file: str
    classes: int


def export(source: str, layout: str, out: str, *, ema: bool, say: Callable[[str], None]) -> Exported:
    """Write the checkpoint at `source` (or the newest of a run) to the file `out`; `ema` takes its average instead.

    Raises UsageError where the layout has not this network, before anything is written.
    """
    names = [name for name in LAYOUTS if name == layout]
    if not names:
        raise UsageError(f"--layout {layout}: it is {', '.join(LAYOUTS)}")
    if not is_weights_file(out):
        raise UsageError(
            f"--out {out}: the name says the kind of file; it ends with one of {', '.join(SUFFIXES)}"
        )
    checkpoint = locate(source, say)
    card = checkpoint.card
    check_layout(card.recipe.model, names[0])
    if ema:
        check_average(checkpoint)
    folder, _, name = out.rpartition("/")
    store = open_store(folder or ("/" if out.startswith("/") else "."))
    classes_name = f"{_stem(name)}.classes.txt"
    for wanted in (name, classes_name):
        if _is_there(store, wanted):
            raise UsageError(
                f"{store.url}/{wanted} is there already: nothing was written. Choose another --out"
            )
    tensors, raw = _file(checkpoint, names[0], out, ema=ema)
    store.write(classes_name, "".join(f"{wnid}\n" for wnid in card.classes).encode())
    store.write(name, raw)
    return Exported(
        checkpoint=checkpoint.url,
        layout=names[0],
        file=out,
        tensors=tensors,
        bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        classes_file=f"{folder}/{classes_name}" if folder else classes_name,
        classes=len(card.classes),
    )


def _file(checkpoint: Checkpoint, layout: Layout, out: str, *, ema: bool) -> tuple[int, bytes]:
    """How many tensors, and the file's bytes. Only this loads torch: what is refused is refused at once."""
    from raytrain.checkpoint import load_ema, load_model
    from raytrain.weights.files import write_tensors
    from raytrain.weights.layouts import from_ours

    recipe = checkpoint.card.recipe
    ours = load_ema(checkpoint) if ema else load_model(checkpoint)
    state = from_ours(ours, layout, recipe.model, recipe.view.image_size)
    notes = {"recipe": recipe.name, "layout": layout, "checkpoint": checkpoint.manifest.digest}
    return len(state), write_tensors(state, out, INSIDE.get(layout), notes)


def _is_there(store: Store, key: str) -> bool:
    try:
        store.size(key)
    except NotFoundError:
        return False
    return True


def _stem(name: str) -> str:
    """A file's name without its suffixes: model.pth.tar is model."""
    while is_weights_file(name):
        name = name.rpartition(".")[0]
    return name
