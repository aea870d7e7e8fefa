"""kill -9 anywhere in a save leaves the old checkpoint or the new one. For all points run `crash.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash import S3, Saves, points, s3_server, why_not

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saves]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with s3_server(), Saves(tmp_path_factory.mktemp("logs")) as process:
        yield process


def test_every_write_fsync_rename_and_unlink(saves: Saves, tmp_path: Path) -> None:
    """Five tensors, texts and the manifest, each written, flushed and renamed; six files of an old one deleted."""
    assert points(saves, str(tmp_path), ("write", "fsync", "rename", "unlink")) >= 7 + 12 + 6 + 6


def test_some_requests_to_s3(saves: Saves) -> None:
    assert points(saves, "s3://crashes/some", S3, each=9) >= 2
