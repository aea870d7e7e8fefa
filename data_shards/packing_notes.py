"""What an output holds: nothing, the beginning of a set, or a whole one; and is it the set that is asked for?

A beginning is told by its notes, which are there while packing only.

    packing.json     what is being packed here
    index/NAME.json  the record of a shard that is done
"""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from data_shards.errors import DataUsageError
from data_shards.index import RECORD
from data_shards.shard_writer import ShardRecord, put
from data_shards.shardset import MANIFEST, Adoption, Packing, ShardSet, Value, load_shardset
from data_shards.store import NotFoundError, Store
from data_shards.tools import Tools, differing

NOTE = "packing.json"
QUARANTINE = "quarantine.jsonl"
Note = TypeVar("Note", bound=Value)


class Plan(Value):
    """What is being packed here: another plan may not continue it."""

    name: str
    packing: Packing


def finished(store: Store, plan: Plan) -> ShardSet | None:
    """The set that is there, if it is the one that is asked for; DataUsageError if it is another one."""
    try:
        store.size(MANIFEST)
    except NotFoundError:
        return None
    found = load_shardset(store.url)
    if isinstance(found.packing, Adoption):
        raise DataUsageError(f"{store.url} holds tars that were indexed in place: choose another --out")
    _same_plan(store, Plan(name=found.name, packing=found.packing), plan)
    return found


def claim(store: Store, plan: Plan) -> None:
    """Write down what is packed here. DataUsageError where something else has begun, or lies there."""
    if Path(store.url).is_file():
        raise DataUsageError(f"{store.url} is a file; use a folder for --out")
    try:
        found = _parsed(Plan, store, NOTE)
    except NotFoundError:
        others = _others(store)
        if others:
            raise DataUsageError(
                f"{store.url} holds other files ({others[0]}, ...), and no packing that broke off: choose another --out"
            ) from None
        put(store, NOTE, plan.model_dump_json().encode())
    else:
        _same_plan(store, found, plan)


def _others(store: Store) -> list[str]:
    """What lies at the top of a folder. A prefix in S3 is asked for shards alone: it may be a bucket's whole."""
    if store.url.startswith("s3://"):
        return store.list("shards/")
    folder = Path(store.url)
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def _parsed(kind: type[Note], store: Store, key: str) -> Note:
    try:
        return kind.model_validate_json(store.read(key))
    except ValidationError:
        raise DataUsageError(
            f"{store.url}/{key} is no note of a packing that broke off: choose another --out, or remove the file"
        ) from None


def _same_plan(store: Store, found: Plan, asked: Plan) -> None:
    there, here = ({"name": p.name, **dict(p.packing)} for p in (found, asked))
    differences = [field for field in there if there[field] != here[field]]
    # other settings take other files of the same source
    told = [
        f"{field} {_said(there[field])} there, {_said(here[field])} asked for"
        for field in differences
        if field != "source"
    ]
    if differences == ["source"]:
        told = ["the source has other files, or files of other sizes, than those that were packed"]
    if told:
        raise DataUsageError(
            f"{store.url} holds another set: {'; '.join(told)}. "
            "Choose another --out, or remove that one first"
        )


def _said(value: object) -> object:
    return "none" if value is None else value


def finished_shards(store: Store) -> dict[str, ShardRecord]:
    """The shards that an earlier run has finished: record, tar and index are there and fit together."""
    records = {}
    for key in store.list("index/"):
        if key.endswith(".json"):
            record = _parsed(ShardRecord, store, key)
            if _whole(store, record):
                records[record.shard.name] = record
    return records


def refuse_other_tools(store: Store, records: dict[str, ShardRecord], tools: Tools) -> None:
    """DataUsageError where a shard that is there was written by another version of a tool than what is to follow."""
    for name, record in records.items():
        if difference := differing(record.tools, tools):
            raise DataUsageError(
                f"{store.url} was begun with other tools: {name} was packed with {difference}, which is here. The rest "
                "of the set would have other bytes by it: install the version that began, or choose another --out"
            )


def _whole(store: Store, record: ShardRecord) -> bool:
    shard = record.shard
    if not shard.samples:
        return True
    expected = {shard.tar_key: shard.bytes, shard.index_key: shard.samples * RECORD.itemsize}
    if shard.segments is not None:
        expected[shard.segments_key] = shard.segments.bytes
    try:
        return all(store.size(key) == size for key, size in expected.items())
    except NotFoundError:
        return False


def remove_notes(store: Store) -> None:
    """Leave nothing but the set; the note that claims the place goes last."""
    for key in store.list("index/"):
        if key.endswith(".json"):
            store.delete(key)
    store.delete(NOTE)
