"""A checkpoint's manifest and card: what can be known of it without torch."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Self, TypeVar

from pydantic import ValidationError

from data_shards.errors import DataError
from data_shards.shardset import Value
from data_shards.store import NotFoundError, Store, open_store
from raytrain.errors import RunError, UsageError
from raytrain.plan import Init, Teacher
from raytrain.recipe import Recipe

MANIFEST = "MANIFEST.json"
KEEP_CHECKPOINTS = 3
"""The newest ones; the best is kept besides."""
Parsed = TypeVar("Parsed", bound=Value)


class FileDigest(Value):
    """A file's size and sha256."""

    bytes: int
    sha256: str


class Manifest(Value):
    """What a checkpoint directory must hold. Its presence means that all of it was written.

    `seal` is the digest of the other fields: a manifest that was changed is no witness for its files.
    """

    format: int = 1
    step: int
    world: int
    plan: str
    files: dict[str, FileDigest]
    seal: str = ""

    @property
    def digest(self) -> str:
        """The sha256 of the manifest without its seal: it stands for every byte of the checkpoint."""
        return hashlib.sha256(self.model_dump_json(exclude={"seal"}).encode()).hexdigest()

    def sealed(self) -> Self:
        """The manifest as it is written."""
        return self.model_copy(update={"seal": self.digest})


class Card(Value):
    """What the weights are: the recipe that made them and the WNID of every head row."""

    recipe: Recipe
    classes: tuple[str, ...]


class Checkpoint(Value):
    """A verified checkpoint: its place, manifest and card. Tensors are loaded by `raytrain.checkpoint`."""

    url: str
    manifest: Manifest
    card: Card


def key_of(step: int) -> str:
    """The checkpoint's directory under the run."""
    return f"checkpoints/step-{step:08d}"


def complete_steps(store: Store) -> list[int]:
    """The steps whose checkpoints were finished (verified or not), oldest first."""
    found = [key for key in store.list("checkpoints/step-") if key.endswith(f"/{MANIFEST}")]
    return sorted(step_of(str(PurePosixPath(key).parent)) for key in found)


def step_of(folder: str) -> int:
    """The step of a checkpoint, by its folder's key or URL."""
    return int(PurePosixPath(folder).name.removeprefix("step-"))


def started_steps(store: Store) -> list[int]:
    """The steps of which there is any file."""
    found = {PurePosixPath(key).parent.name for key in store.list("checkpoints/step-")}
    return sorted(int(name.removeprefix("step-")) for name in found)


def newest(store: Store) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that verifies, and a line for each damaged one walked past.

    None only where no checkpoint was ever finished. Raises RunError where some were and all are damaged:
    a run never starts again from scratch in silence.
    """
    passed: list[str] = []
    for step in reversed(complete_steps(store)):
        try:
            return verify(f"{store.url}/{key_of(step)}"), passed
        except (RunError, DataError) as error:
            passed.append(str(error))
    if passed:
        raise RunError(
            "every finished checkpoint of this run is damaged:\n  "
            + "\n  ".join(passed)
            + f"\nRestore one from a copy, or remove {store.url}/checkpoints to start from step 0"
        )
    return None, passed


def verify(url: str) -> Checkpoint:
    """Check every file's size and sha256 against the manifest. Raises RunError naming the first that differs."""
    store = open_store(url)
    try:
        manifest = _parse(Manifest, store, MANIFEST, store.read(MANIFEST))
        if manifest.seal != manifest.digest:
            raise RunError(f"{url}/{MANIFEST} is damaged: its seal does not fit what it says")
        for name, digest in manifest.files.items():
            read_verified(store, name, digest)
        card = read_verified(store, "card.json", manifest.files["card.json"])
        return Checkpoint(url=url, manifest=manifest, card=_parse(Card, store, "card.json", card))
    except NotFoundError as error:
        raise RunError(f"{url} is no whole checkpoint: {error}") from None


def _parse(kind: type[Parsed], store: Store, name: str, raw: bytes) -> Parsed:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise RunError(f"{store.url}/{name} is damaged, or of another version: {problem}") from None


def locate(url: str, say: Callable[[str], None]) -> Checkpoint:
    """The checkpoint at `url`, or the newest whole one of the run there; `say` is told of damaged ones passed over.

    Raises UsageError where there is neither.
    """
    store = open_store(url)
    with suppress(NotFoundError):
        store.size(MANIFEST)
        return verify(url)
    found, passed = newest(store)
    for line in passed:
        say(f"passed over a damaged checkpoint: {line}")
    if found is None:
        raise UsageError(f"{url} holds no checkpoint: neither {MANIFEST} nor checkpoints/step-*/{MANIFEST}")
    return found


def check_average(checkpoint: Checkpoint) -> None:
    """Raise UsageError where its run made no average of the weights."""
    if "ema.pt" not in checkpoint.manifest.files:
        raise UsageError(
            f"{checkpoint.url} holds no average of the weights: its run was trained without --set ema_decay=..."
        )


def init_from(url: str, say: Callable[[str], None]) -> Init:
    """What a plan says of the checkpoint it starts from."""
    found = locate(url, say)
    return Init(source=url, checkpoint=found.url, digest=found.manifest.digest)


def teacher_from(url: str, classes: tuple[str, ...], say: Callable[[str], None]) -> Teacher:
    """What a plan says of the checkpoint it is distilled from. Raises UsageError where that lacks one of `classes`."""
    found = locate(url, say)
    rows_of(found.card.classes, classes)
    return Teacher(
        source=url,
        checkpoint=found.url,
        digest=found.manifest.digest,
        model=found.card.recipe.model,
        classes=len(found.card.classes),
        image_size=found.card.recipe.view.image_size,
    )


def rows_of(known: tuple[str, ...], classes: tuple[str, ...]) -> list[int]:
    """The row of a teacher's head for each class, by WNID. Raises UsageError where it knows one of them not."""
    rows = {wnid: row for row, wnid in enumerate(known)}
    missing = [wnid for wnid in classes if wnid not in rows]
    if missing:
        raise UsageError(
            f"the teacher knows {len(known)} classes, and {len(missing)} of the data's {len(classes)} are not among "
            f"them, such as {', '.join(missing[:3])}: fine-tune it on this data first, with `raytrain train --init`"
        )
    return [rows[wnid] for wnid in classes]


def read_verified(store: Store, name: str, digest: FileDigest) -> bytes:
    """The file's bytes, if they are the manifest's: checked again at each read, since time has passed."""
    raw = store.read(name)
    actual = hashlib.sha256(raw).hexdigest()
    if len(raw) != digest.bytes or actual != digest.sha256:
        raise RunError(
            f"{store.url}/{name} is damaged: {len(raw)} bytes, sha256 {actual[:12]}...; "
            f"the manifest says {digest.bytes} bytes, {digest.sha256[:12]}..."
        )
    return raw
