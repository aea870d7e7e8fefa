"""What `--init FILE` begins from: a file of weights, and the class list that names its head's rows. No torch here."""

import hashlib
from pathlib import Path

from data_shards.class_lists import KNOWN, class_list, digest
from data_shards.store import Store, open_store
from raytrain.errors import RunError, UsageError
from raytrain.plan import Init

SUFFIXES = (".pt", ".pth", ".bin", ".tar", ".safetensors")


def is_weights_file(url: str) -> bool:
    """Whether `url` is of a file of weights, and not of a run or a checkpoint of ours, which are folders."""
    return url.endswith(SUFFIXES)


def init_from_file(url: str, classes: str | None, held: Init | None) -> Init:
    """What a plan says of a file it starts from; `held` is what it said at the first start of the same work.

    Raises UsageError without a class list, DataError without the file.
    """
    store, name = _place(url)
    if classes is None:
        store.size(name)  # of a file that is not there, that is said first
        lists = "".join(f"\n  {name:<24}{what}" for name, what in KNOWN.items())
        raise UsageError(
            f"--init {url}: a file does not say which class a row of its head is: say it with --init-classes LIST, "
            f"which is a text file with a WNID per line, a shard set with the same labels, or one of{lists}"
        )
    if classes not in KNOWN and "://" not in classes:
        classes = str(Path(classes).absolute())
    if held is not None and (held.source, held.class_list) == (url, classes):
        return held
    return Init(
        source=url,
        checkpoint=url,
        digest=hashlib.sha256(read_file(url)).hexdigest(),
        class_list=classes,
        class_digest=digest(class_list(classes)),
    )


def planned_classes(init: Init) -> tuple[str, ...]:
    """The class list that was planned with. Raises RunError where it has changed since."""
    classes = class_list(init.class_list)
    if digest(classes) != init.class_digest:
        raise RunError(
            f"the class list {init.class_list} changed since it was planned with. Plan again, or put it back"
        )
    return classes


def planned_bytes(init: Init) -> bytes:
    """The file that was planned with. Raises RunError where it has changed since."""
    raw = read_file(init.checkpoint)
    found = hashlib.sha256(raw).hexdigest()
    if found != init.digest:
        raise RunError(
            f"{init.checkpoint} is another file than the one that was planned: sha256 {found[:12]}, "
            f"the plan says {init.digest[:12]}. Plan again, or put it back"
        )
    return raw


def read_file(url: str) -> bytes:
    """A file's bytes, from a disk or from S3. Raises DataError where it is not there."""
    store, name = _place(url)
    return store.read(name)


def _place(url: str) -> tuple[Store, str]:
    folder, _, name = url.rpartition("/")
    return open_store(folder or "/"), name
