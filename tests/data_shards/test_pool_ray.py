"""Packing as tasks of a real Ray cluster: the bytes of one process, though the driver is killed on the way."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_shards import restart
from data_shards.pack import PackOptions, pack
from tests.data_shards.archives import CAT, DOG, pictures, write_layout
from tests.data_shards.test_pack import contents

pytestmark = pytest.mark.ray
PATIENCE = 240  # seconds for something to happen on a busy machine

HEAD = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""

OPTIONS = PackOptions(name="small", samples_per_shard=5, restart_markers=restart.available() or None)
"""What `command` asks for."""


def stop(images: int, of: int) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
    }


@pytest.fixture(scope="module")
def address(environment: dict[str, str]) -> Iterator[str]:
    """A cluster of 2 CPUs in a process of its own; it ends when its standard input does."""
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")  # Ray's sockets bear no longer path
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, folder],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert head.stdin is not None
    assert head.stdout is not None
    yield head.stdout.readline().strip()
    head.stdin.close()
    head.wait(PATIENCE)
    shutil.rmtree(folder, ignore_errors=True)


def command(src: Path, out: Path, address: str) -> list[str]:
    options = f"--out {out} --address {address} --workers 2 --name small --samples-per-shard 5 --json"
    return [sys.executable, "-m", "raytrain", "data", "pack", str(src), *options.split()]


def test_a_cluster_makes_the_bytes_of_one_machine(
    address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    train = write_layout("ILSVRC2012_img_train.tar", pictures([CAT, DOG], each=150), tmp_path)
    out = tmp_path / "out"
    driver = subprocess.Popen(command(train, out, address), env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE
    while not list(out.glob("index/*.json")):
        assert time.monotonic() < until, "no shard came"
        assert driver.poll() is None, "the driver ended"
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (out / "shardset.json").exists()

    again = subprocess.run(command(train, out, address), env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    said = json.loads(again.stdout)
    assert (said["images"], said["shards"]) == (300, 60)
    assert 5 <= said["resumed"] < 300
    pack(train, str(tmp_path / "local"), OPTIONS, 1, 0.0, lambda *_: None)
    assert contents(out) == contents(tmp_path / "local")


def test_what_a_task_finds_wrong_is_said_as_by_a_process(
    address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    train = write_layout("ILSVRC2012_img_train.tar", pictures([CAT, DOG]), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pack(train, str(tmp_path / "out"), OPTIONS, 1, 0.0, stop)
    (tmp_path / "out" / "shards").write_text("a file where the shards are to go")
    done = subprocess.run(
        command(train, tmp_path / "out", address), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_cluster_is_said_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    train = write_layout("ILSVRC2012_img_train.tar", pictures([CAT]), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as held:
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
    done = subprocess.run(
        command(train, tmp_path / "out", nobody), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"no Ray cluster answers at {nobody}: " in done.stderr
    assert done.stderr.count("\n") <= 3


def test_a_cluster_that_others_reach_is_refused_without_a_token(
    environment: dict[str, str], tmp_path: Path
) -> None:
    train = write_layout("ILSVRC2012_img_train.tar", pictures([CAT]), tmp_path)
    done = subprocess.run(
        command(train, tmp_path / "out", "192.0.2.7:6379"),
        env={**environment, "RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "others reach 192.0.2.7:6379 too, and RAY_AUTH_MODE is not `token`" in done.stderr
    assert "Traceback" not in done.stderr
