"""Mix: several shard sets by weight, as a small YAML file says. Wherever `--data` takes a set it takes such a file.

    sets:
      - url: s3://bucket/imagenet-22k
        weight: 3
      - url: ../my-set       # relative to this file
        weight: 1
        split: train         # if not said
        name: mine           # the set's own if not said

The first set is the main one: its labels stay as they are, evaluation reads its splits, and an epoch of the mix is
over when its samples were drawn once. The others go through epochs of their own at the pace of their turns.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import PurePosixPath
from posixpath import dirname, join, normpath
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from data_shards.errors import DataError, DataUsageError
from data_shards.shardset import ShardSet, Value, load_shardset
from data_shards.store import NotFoundError, open_store
from data_shards.training import Part, Training, alone
from data_shards.weights import turns_of

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""What a set of a mix may be called: SET/KEY has one meaning only."""


def is_mix(url: str) -> bool:
    """Whether a URL is that of a mix and not of a set."""
    return url.endswith((".yaml", ".yml"))


def _a_set(url: str) -> str:
    if is_mix(url):
        raise ValueError(f"'{url}' is a mix: name its sets here, with weights of their own")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url) and not url.startswith(("s3://", "file://")):
        raise ValueError(f"'{url}': a set is a local folder, file:// or s3://bucket/prefix")
    return url


class MixSet(Value):
    """An entry of the file: a set, and its share."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    url: Annotated[str, AfterValidator(_a_set)]
    weight: float = Field(gt=0)
    split: str = "train"
    name: str | None = Field(None, pattern=f"^{NAME}$")


class MixFile(Value):
    """The file. Sets that share keys are refused before training (shared_keys.py), unless that is `allowed`."""

    model_config = ConfigDict(strict=True)

    sets: tuple[MixSet, ...] = Field(min_length=1, strict=False)
    shared_keys: Literal["refused", "allowed"] = "refused"


class Mix(Value):
    """A mix with its sets loaded. `training` is what is drawn from; evaluation reads the splits of `first`."""

    name: str
    training: Training
    shared_keys: Literal["refused", "allowed"]

    @property
    def first(self) -> Part:
        """The main set."""
        return self.training.parts[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The WNID of every label: the first set's, then what the others have besides."""
        return self.training.classes

    @property
    def turns(self) -> tuple[int, ...]:
        """The weights as whole numbers: of so many turns each set has its own."""
        return turns_of([part.weight for part in self.training.parts])

    @property
    def epoch(self) -> int:
        """Samples of an epoch: as many as it takes to draw the first set's once, rounded up."""
        return -(-self.first.chosen.samples * sum(self.turns) // self.turns[0])

    @property
    def fingerprint(self) -> str:
        """The sha256 of what decides which sample comes when: the sets' fingerprints, their splits and turns."""
        parts = [
            (part.shardset.fingerprint, part.split, turns)
            for part, turns in zip(self.training.parts, self.turns, strict=True)
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


Data = ShardSet | Mix
"""What `--data` may be."""


def load_data(url: str) -> Data:
    """The shard set at `url`, or the mix that a .yaml file there describes. DataError where it is none."""
    return load_mix(url) if is_mix(url) else load_shardset(url)


def to_train(url: str, data: Data, split: str, fraction: float = 1.0) -> Training:
    """What is trained on: that split of a set, or about a fraction of it (training.first_shards).

    Of a mix the file has said it: it takes no other split than "train", and no fraction.
    """
    if isinstance(data, ShardSet):
        return alone(url, data, split, fraction)
    if fraction != 1:
        raise DataUsageError(
            f"train_fraction {fraction:g}: mix '{data.name}' is trained on whole. Take a fraction of one set"
        )
    if split != "train":
        raise DataUsageError(
            f"mix '{data.name}' says itself which split of each set is trained on; it has no split '{split}'. "
            "Write `split:` there, and leave the recipe's train_split at 'train'"
        )
    return data.training


def held_out(url: str, data: Data) -> tuple[str, ShardSet]:
    """The set that evaluation reads, and where it is: of a mix its first. Its labels are the first ones of both."""
    return (url, data) if isinstance(data, ShardSet) else (data.first.url, data.first.shardset)


def load_mix(url: str) -> Mix:
    """Read the file and the manifests of its sets. DataError or DataUsageError says what is wrong with which."""
    file = _read(url)
    parts = tuple(_part(url, entry) for entry in file.sets)
    for where, problem in _conflicts(parts):
        raise DataUsageError(f"{url}: {where}: {problem}")
    mix = Mix(name=PurePosixPath(url).stem, training=Training(parts=parts), shared_keys=file.shared_keys)
    try:
        _ = mix.turns
    except DataUsageError as error:
        raise DataUsageError(f"{url}: {error}") from None
    return mix


def _read(url: str) -> MixFile:
    folder, _, name = url.rpartition("/")
    try:
        raw = open_store(folder or ("/" if url.startswith("/") else ".")).read(name)
    except NotFoundError:
        raise DataError(f"no mix file at {url}") from None
    try:
        content = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # All but the first come out of PyYAML as they are: an impossible date, `!!int ''`, `!!timestamp x`, [[[[...
        raise DataUsageError(f"{url} is no YAML: {error}") from None
    try:
        return MixFile.model_validate(content)
    except ValidationError as error:
        raise DataUsageError(f"{url}: {_told(error)}") from None


def _told(error: ValidationError) -> str:
    """The first thing that is wrong, with its place: sets.1.weight."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        fields = MixSet.model_fields if len(first["loc"]) > 1 else MixFile.model_fields
        return f"{where}: no such field; there are {', '.join(fields)}"
    return f"{where}: {first['msg'].removeprefix('Value error, ').replace(' or instance of MixFile', '')}"


def _beside(url: str, where: str) -> str:
    """The URL of a path that is relative to the file's folder. In S3 it stays in the file's bucket."""
    scheme, slashes, path = url.rpartition("://")
    if scheme != "s3":
        return scheme + slashes + normpath(join(dirname(path), where))
    bucket, _, key = path.partition("/")
    found = normpath(join(dirname(key), where))
    if found.split("/")[0] == "..":
        raise DataUsageError(
            f"{url}: '{where}' is above the bucket: name the other one, as s3://bucket/prefix"
        )
    return f"s3://{bucket}" if found == "." else f"s3://{bucket}/{found}"


def _part(url: str, entry: MixSet) -> Part:
    where = entry.url
    if "://" not in where and not where.startswith("/"):
        where = _beside(url, where)
    shardset = load_shardset(where)
    return Part(
        name=entry.name or shardset.name,
        url=where,
        shardset=shardset,
        split=entry.split,
        weight=Fraction(str(entry.weight)),
    )


def _conflicts(parts: tuple[Part, ...]) -> Iterator[tuple[str, str]]:
    """(which set, what is wrong with it), of what one manifest alone does not show."""
    names, seen = Counter(part.name for part in parts), dict[tuple[str, str], str]()
    for number, part in enumerate(parts):
        where = f"sets.{number} ({part.url})"
        if part.chosen.samples == 0:
            yield where, f"split '{part.split}' has no samples to train on"
        if not part.shardset.classes:
            yield where, "its class list is empty: nothing can be learnt from it"
        same = (part.shardset.fingerprint, part.split)
        if same in seen:
            yield where, f"the same set as {seen[same]}. Name it once, with the sum of the weights"
        seen[same] = part.url
        if not re.fullmatch(NAME, part.name):
            yield (
                where,
                f"its name '{part.name}' cannot stand before keys. Write another: `name: letters-and-digits`",
            )
        if names[part.name] > 1:
            yield where, f"{names[part.name]} sets are called '{part.name}'. Write `name:` for one of them"
