"""The policies that are shipped allow what is done in S3, and nothing else: every call is recorded, none is guessed."""

import json
import re
import time
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from data_shards.cache import Cache
from data_shards.cli_policy import app
from data_shards.errors import DataUsageError
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from data_shards.store import open_store, s3
from data_shards.store.policy import policy
from data_shards.store.s3_errors import ACTIONS
from data_shards.sweep import sweep
from data_shards.verify import verify


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The actions that S3 is asked for from here on, by botocore's own event before each call."""
    names: set[str] = set()
    real = s3._client

    def listened(url: str, config: object) -> object:
        client = real(url, config)
        client.meta.events.register(
            "before-call.s3", lambda model, **_: names.add(ACTIONS[model.name].split(" ")[0])
        )
        return client

    monkeypatch.setattr(s3, "_client", listened)
    return names


def actions(url: str, *, writes: bool) -> set[str]:
    return {action for part in policy(url, writes=writes)["Statement"] for action in part["Action"]}


def test_each_allows_what_is_done_and_no_more(
    called: set[str], s3_url: str, folders: Path, tmp_path: Path
) -> None:
    pack(folders, s3_url, PackOptions(name="small", samples_per_shard=64), 1, 0.0, lambda *_: None)
    verify(s3_url, 1, lambda *_: None)
    store, large = open_store(s3_url), tmp_path / "large"
    large.write_bytes(bytes(9 << 20))  # two parts
    store.write("large", large)
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    boto3.client("s3").create_multipart_upload(Bucket=bucket, Key=f"{prefix}/shards/killed.tar")
    assert len(sweep(store, 0.0, time.time() + 60)[0]) == 1
    store.delete("large")
    assert store.size("shardset.json") > 0
    assert called == actions(s3_url, writes=True)

    called.clear()  # from here on as training does it
    shards, cache = load_shardset(s3_url).split("train").shards, Cache(s3_url, tmp_path / "cache")
    for shard in shards:
        cache.map(shard.index_key, shard.samples * 18, shard.index_sha256, check=True).close()
        cache.map(shard.tar_key, shard.bytes, shard.sha256, check=True).close()
    assert called == {"s3:GetObject"}
    store.list("checkpoints/")  # and as eval, export, report and audit do with a run
    assert called == actions(s3_url, writes=False)


def test_every_call_of_the_store_has_its_action() -> None:
    """No verb of a client stands in s3.py that the policies do not know."""
    text = Path(s3.__file__).read_text()
    said = set(re.findall(r"(?:_calls|_client)\.([a-z0-9_]+)\(", text)) | set(
        re.findall(r'paginator\("(\w+)"', text)
    )
    assert len(said) > 7
    verbs = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in ACTIONS}
    assert said - {"get_paginator", "upload_file", "upload_fileobj"} <= verbs, "uploads are put or multipart"


@pytest.mark.parametrize("writes", [True, False])
def test_nothing_is_allowed_beyond_the_prefix(writes: bool) -> None:
    on_bucket, on_objects = policy("s3://bucket/in22k/", writes=writes)["Statement"]
    assert on_bucket["Resource"] == "arn:aws:s3:::bucket"
    assert on_bucket["Condition"] == {"StringLikeIfExists": {"s3:prefix": "in22k/*"}}
    assert on_objects["Resource"] == "arn:aws:s3:::bucket/in22k/*"
    assert not [action for action in actions("s3://bucket", writes=writes) if "*" in action]
    assert all(action.startswith("s3:") for action in actions("s3://bucket", writes=writes))


def test_the_command_prints_it() -> None:
    said = CliRunner().invoke(app, ["s3://bucket/in22k", "--read-only"]).stdout
    assert json.loads(said) == policy("s3://bucket/in22k", writes=False)
    with pytest.raises(DataUsageError, match=r"'/shared/in22k' is not in S3"):
        policy("/shared/in22k", writes=True)
