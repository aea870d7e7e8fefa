"""ShardSet: what the data is. Shards, counts, digests, the class list as WNIDs, splits, version.

A ShardSet is read from `<url>/shardset.json`, which packing writes last: its presence means complete.

    <url>/shardset.json  shards/NAME.tar  index/NAME.idx  verify.json  quarantine.jsonl
"""

import hashlib
from functools import cached_property
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class Shard(Value):
    """One tar and its index, and the keys they have in the set's store.

    `tar` is written only where it is not the default: a tar of somebody else's that was indexed where it lies.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str
    tar: str = Field("", exclude_if=lambda key: not key)

    @property
    def tar_key(self) -> str:
        """Where the tar is, from the set's root. Untrusted, as the whole manifest: stores refuse to leave the root."""
        return self.tar or f"shards/{self.name}.tar"

    @property
    def index_key(self) -> str:
        """Where the index is, from the set's root."""
        return f"index/{self.name}.idx"


class Split(Value):
    """An ordered list of shards; `class_counts[label]` is the number of samples with that label."""

    shards: tuple[Shard, ...]
    class_counts: tuple[int, ...]

    @property
    def samples(self) -> int:
        """The number of samples in the split."""
        return sum(shard.samples for shard in self.shards)


class Packing(Value):
    """How the shards were cut: enough to make the same bytes again from the same source.

    `source` is the digest of the names, sizes and splits of the source's files; "" where they are not known.
    """

    seed: int
    samples_per_shard: int
    source: str = ""


class ShardSet(Value):
    """The whole data set. `classes[label]` is the WNID of a label."""

    format: Literal[1] = 1
    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    packing: Packing

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the manifest's canonical JSON: equal exactly when the data is equal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

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
        raise DataError(
            f"no shard set at {url}: {MANIFEST} is missing (packing writes it last). "
            f"Make one with `raytrain data pack SRC --out {url}`"
        ) from None
    try:
        return ShardSet.model_validate_json(raw)
    except ValidationError as error:
        raise DataError(
            f"{url}/{MANIFEST} is damaged: {error.errors()[0]['msg']}. Pack the set again"
        ) from None
