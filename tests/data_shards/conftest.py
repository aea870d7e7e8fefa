"""Fixtures of both halves of the room: a small packed set, a factory of such sets, an S3 server."""

import contextlib
import shutil
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy

from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server on a real port of this machine. It lists 5 keys a page, so that paging happens."""
    pages = pytest.MonkeyPatch()
    pages.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    bucket = urllib.request.Request(
        f"{url}/raytrain-test", method="PUT"
    )  # a boto3 client takes 0.3 s to make
    urllib.request.urlopen(bucket).close()
    yield url
    server.stop()
    pages.undo()


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in S3 (s3://bucket/prefix), with the environment that leads boto3 there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://raytrain-test/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn ImageFolder: train of 6 classes x 20 images, val of 6 x 5. Not to be changed."""
    root = tmp_path_factory.mktemp("folders") / "drawn"
    synth(root, SynthOptions(classes=6, images=20, val_images=5, size=48), 1, lambda *_: None)
    return root


@pytest.fixture(scope="session")
def make_set(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function of PackOptions (as keywords) that packs `folders` afresh and returns the URL."""

    def make(**options: int) -> str:
        out = str(tmp_path_factory.mktemp("set") / "packed")
        chosen = PackOptions(name="drawn", **{"samples_per_shard": 32, **options})
        pack(folders, out, chosen, 2, 0.0, lambda *_: None)
        return out

    return make


@pytest.fixture(scope="session")
def packed(make_set: Callable[..., str]) -> str:
    """URL of a packed set: train 120 images in 4 shards, val 30 in 1, 6 classes. Not to be changed."""
    return make_set()


@pytest.fixture
def packed_copy(packed: str, tmp_path: Path) -> Path:
    """A copy of `packed` that a test may damage."""
    return Path(shutil.copytree(packed, tmp_path / "copy"))


@pytest.fixture
def faulty(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., FaultProxy]]:
    """A function of a plan of faults that puts a proxy with it in front of S3; boto3 is led there."""
    with contextlib.ExitStack() as proxies:

        def start(plan: Callable[[str, str], Fault]) -> FaultProxy:
            proxy = proxies.enter_context(FaultProxy(s3_endpoint, plan))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            return proxy

        yield start
