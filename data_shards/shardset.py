"""ShardSet: what the data is. Shards, counts, digests, the class list as WNIDs, splits, version.

A ShardSet is read from `<url>/shardset.json`, which packing writes last: its presence means complete.

    <url>/shardset.json  shards/NAME.tar  index/NAME.idx  index/NAME.rst  verify.json  quarantine.jsonl
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from data_shards.errors import DataError, DataUsageError
from data_shards.store import NotFoundError, open_store

MANIFEST = "shardset.json"


class Value(BaseModel):
    """A frozen, keyword-only value that refuses unknown fields and travels as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Options = TypeVar("Options", bound=Value)


def checked(kind: type[Options], **fields: object) -> Options:
    """An options value from a command line's arguments; DataUsageError names the first one out of bounds."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise DataUsageError(f"--{option} {first['input']}: {first['msg'].lower()}") from None


def _inside(key: str) -> str:
    """A manifest may come from anybody: no key in it may lead out of its own folder or bucket."""
    if key.startswith("/") or ".." in key.split("/") or "\0" in key or "://" in key:
        raise ValueError(f"'{key}' leads out of the set")
    return key


Key = Annotated[str, AfterValidator(_inside)]
"""A key of the set's store, or a part of one."""


class StoredFile(Value):
    """A file that is as it was made if it has this size and digest."""

    bytes: int
    sha256: str


class Shard(Value):
    """One tar and its index, and the keys they have in the set's store.

    `segments` is there where the JPEGs have restart markers (segments.py). `tar` is written only where it is not the
    default: a tar of somebody else's that was indexed where it lies.
    """

    name: Key
    samples: int
    bytes: int
    sha256: str
    index_sha256: str
    tar: Key = Field("", exclude_if=lambda key: not key)
    segments: StoredFile | None = Field(None, exclude_if=lambda file: file is None)

    @property
    def tar_key(self) -> str:
        """Where the tar is, from the set's root."""
        return self.tar or f"shards/{self.name}.tar"

    @property
    def index_key(self) -> str:
        """Where the index is, from the set's root."""
        return f"index/{self.name}.idx"

    @property
    def segments_key(self) -> str:
        """Where the segment lengths are, from the set's root."""
        return f"index/{self.name}.rst"


class Split(Value):
    """An ordered list of shards; `class_counts[label]` is the number of samples with that label."""

    shards: tuple[Shard, ...]
    class_counts: tuple[int, ...]

    @property
    def samples(self) -> int:
        """The number of samples in the split."""
        return sum(shard.samples for shard in self.shards)


class Choices(Value):
    """What may be asked of packing beyond the source as it is; None is not asked.

    val_fraction   cut off as val, by a hash of the name, where the source has no val
    val_per_class  the first so many images of each class are val instead
    minival        so many more of each class are the split of that name: the first, or by `minival_seed`
    min_per_class  classes with fewer images to train on are left out
    resize         pixels of the short edge, or (`resize_mode` squash) of both sides
    restart_markers  JPEGs get them, without loss, so that a crop can be decoded alone (restart.py)
    """

    val_fraction: float | None = Field(None, ge=0, lt=1)
    val_per_class: PositiveInt | None = None
    minival: PositiveInt | None = None
    minival_seed: int | None = Field(None, ge=0)
    min_per_class: PositiveInt | None = None
    resize: int | None = Field(None, ge=16, le=4096)
    resize_mode: Literal["short", "squash"] | None = None
    restart_markers: Literal[True] | None = None


class Packing(Choices):
    """How the shards were cut: enough to make the same bytes again from the same source.

    `source` is the digest of the names, sizes and splits of the source's files; "" where they are not known.
    Choices that were not made are not written, so that a new kind of them leaves the fingerprint of older sets.
    """

    seed: int
    samples_per_shard: int
    source: str = ""

    @model_serializer(mode="wrap")
    def _without_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {field: value for field, value in dump(self).items() if value is not None}


class Adoption(Value):
    """How tars of somebody else were read where they lie: enough to read them the same way again.

    `label_field` is the field of a sample's .json that is its label, "" for its .cls. `splits` are patterns as they
    were asked for, `left_out` the tars under the root that no split has.
    """

    label_field: str
    splits: dict[str, str]
    left_out: tuple[str, ...]


class ShardSet(Value):
    """The whole data set. `classes[label]` is the WNID of a label.

    `tools` are the versions of what wrote bytes (tools.py). They are how the shards came to be what they are, not
    what they are: two sets of the same bytes are the same set.
    """

    format: Literal[1] = 1
    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    packing: Packing | Adoption
    tools: dict[str, str] = Field(default_factory=dict, exclude_if=lambda tools: not tools)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the manifest's canonical JSON: name, classes, shards and how they were packed, not by what."""
        return hashlib.sha256(self.model_dump_json(exclude={"tools"}).encode()).hexdigest()

    def split(self, name: str) -> Split:
        """The split of that name; DataError lists the names there are."""
        if name not in self.splits:
            raise DataError(f"shard set '{self.name}' has no split '{name}'; it has {', '.join(self.splits)}")
        return self.splits[name]


def load_shardset(url: str) -> ShardSet:
    """Read the manifest under `url`. Raises DataError where there is none or it is damaged."""
    try:
        raw = open_store(url).read(MANIFEST)
    except NotFoundError:
        pack = f"raytrain data pack SRC --out {url}"
        if (
            "://" not in url and (Path(url) / "train").is_dir()
        ):  # what torchvision's ImageFolder and timm read
            pack = f"raytrain data pack {url} --out SHARDS"
        raise DataError(
            f"no shard set at {url}: {MANIFEST} is missing (packing writes it last). Make one with `{pack}`"
        ) from None
    try:
        return ShardSet.model_validate_json(raw)
    except ValidationError as error:
        raise DataError(
            f"{url}/{MANIFEST} is damaged: {error.errors()[0]['msg']}. Pack the set again"
        ) from None
