"""For all rooms: golden files, and a disk that is soon full.

Golden files are texts that a person has read and accepted, under tests/golden/. `pytest --accept` rewrites them.
"""

import difflib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

GOLDEN = Path(__file__).parent / "golden"

ONE_HEAD = dict.fromkeys(("tests/cluster/test_jobs.py", "tests/cluster/test_jobs_security.py"), "head")

SERVED = ["webdataset", "data_shards.shard_writer", "data_shards.loader", "torchvision.io"]

settings.register_profile("suite", deadline=None)  # a busy machine is several times slower
settings.load_profile("suite")

# Compiled files are kept, whoever asked for none: the tests start a hundred Pythons, and each would compile anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="Rewrite the golden files that differ.")


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> None:
    """One server forks the workers of packing and of loading. It imports only what its first user asks for, so it is
    started here with all that either needs: some seconds in the background, and 0.7 GB, for every process of pytest.
    """
    multiprocessing.set_forkserver_preload(SERVED)
    forkserver.ensure_running()


class ByFile(LoadScopeScheduling):
    """A file's tests run on one worker, so that what they share is made once; those of one Ray head too."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return ONE_HEAD.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Files are begun in their order, in which long ones come early."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """A function that compares a text with tests/golden/<path>, to the last character."""

    def compare(path: str, text: str) -> None:
        file = GOLDEN / path
        before = file.read_text() if file.exists() else ""
        if text == before:
            return
        if request.config.getoption("--accept"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        lines = difflib.unified_diff(
            before.splitlines(), text.splitlines(), f"golden/{path}", "now", lineterm="", n=2
        )
        accept = f"pytest {request.node.nodeid.split('[')[0]} --accept"
        pytest.fail("\n".join([*lines, f"\nIf this is right: {accept}"]), pytrace=False)

    return compare


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", mount], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount a small file system: {made.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", mount], check=True)
