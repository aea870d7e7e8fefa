"""A directory as a store: whole files only, durable when `write` returns."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from data_shards.errors import DataError, DataUsageError
from data_shards.store.base import NotFoundError, Unfinished

ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
DRAFT = re.compile(r"\.(.+)\.\w{8}\.tmp")
"""How `_open_draft` names the draft of a file."""

DRAFT_TRIES = 100
"""Folders may be taken away this often in a row; each time another process has just finished a delete."""


class LocalStore:
    """Keys are paths under `root`. A write goes to a hidden file beside its target and is renamed over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted. Hidden files (unfinished writes) are left out."""
        keys = (
            path.relative_to(self.root).as_posix()
            for path in self._files(prefix)
            if not path.name.startswith(".")
        )
        return sorted(key for key in keys if key.startswith(prefix))

    def size(self, key: str) -> int:
        """The file's size in bytes. Raises NotFoundError."""
        path = self._path(key)
        if not path.is_file():
            raise NotFoundError(f"no file {path}")
        return path.stat().st_size

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start`, or all that follow. Raises NotFoundError."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read() if length is None else file.read(length)
        except ABSENT:
            raise NotFoundError(f"no file {path}") from None
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None

    def write(self, key: str, content: bytes | Path) -> None:
        """Put the bytes, or the file's bytes, under `key` in one step; durable when it returns."""
        path = self._path(key)
        needed = len(content) if isinstance(content, bytes) else content.stat().st_size
        with space_for(path, needed):
            draft, name = _open_draft(path)
            try:
                with os.fdopen(draft, "wb") as file:
                    _fill(file, content)
                    os.fchmod(file.fileno(), 0o644)  # 0600, as drafts are made, hides shards from others
                os.replace(name, path)
            except BaseException:
                Path(name).unlink()
                raise
            sync_folder(path.parent)

    def delete(self, key: str) -> None:
        """Remove `key`, what a killed write of it left behind, and its folder if that was the last file in it."""
        path = self._path(key)
        for draft in path.parent.glob(f".{path.name}.*.tmp"):
            draft.unlink(missing_ok=True)
        with contextlib.suppress(*ABSENT):
            path.unlink()
        self._leave(path.parent)

    def unfinished(self, prefix: str) -> tuple[Unfinished, ...]:
        """The drafts of keys that start with `prefix`, oldest first; `begun` is when bytes last came."""
        found = []
        for path in self._files(prefix):
            draft = DRAFT.fullmatch(path.name)
            key = path.with_name(draft[1]).relative_to(self.root).as_posix() if draft else ""
            if not draft or not key.startswith(prefix):
                continue
            with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
                status = path.stat()
                found.append(
                    Unfinished(key=key, begun=status.st_mtime, bytes=status.st_size, token=path.name)
                )
        return tuple(sorted(found, key=lambda write: write.begun))

    def abort(self, write: Unfinished) -> None:
        """Remove the draft, and its folder if that was the last file in it; no error where it is gone."""
        draft = self._path(write.key).with_name(write.token)
        draft.unlink(missing_ok=True)
        self._leave(draft.parent)

    def _leave(self, folder: Path) -> None:
        """Remove a folder in which nothing is left."""
        if folder != self.root:
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()

    def _files(self, prefix: str) -> Iterator[Path]:
        """All files in the folder that keys with this prefix lie in, and in those below that begin with the rest."""
        above, _, beginning = prefix.rpartition("/")
        top = self.root / above
        for folder, folders, names in os.walk(top):
            if folder == str(top):
                folders[:] = [name for name in folders if name.startswith(beginning)]
            yield from (Path(folder) / name for name in names)

    def _path(self, key: str) -> Path:
        """The file of a key. Keys are untrusted (they come from manifests): none may leave the root."""
        parts = PurePosixPath(key).parts
        if not parts or ".." in parts or key.startswith("/") or "\0" in key:
            raise DataUsageError(f"'{key}' is no key of {self.root}: keys are relative paths without '..'")
        return self.root / key


@contextlib.contextmanager
def space_for(path: Path, needed: int) -> Iterator[None]:
    """Turn what the operating system says while `needed` bytes are written to `path` into a DataError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"cannot write {path}: {error.strerror}") from None
        free = shutil.disk_usage(next(p for p in path.parents if p.is_dir())).free
        raise DataError(
            f"the disk is full: {path} needs {needed:,} bytes and {free:,} are free. "
            "Make room there and run the same command again: it continues where it stopped"
        ) from None


def _open_draft(path: Path) -> tuple[int, str]:
    """A new hidden file beside `path`: its descriptor and name. The folder is made where it is missing.

    Another process's `delete` may take the folder away, empty as it still is, before the file is in it.
    """
    for _ in range(DRAFT_TRIES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        except (FileNotFoundError, FileExistsError) as error:  # taken after, or while, it was made
            taken = error
    raise taken


def _fill(file: BinaryIO, content: bytes | Path) -> None:
    """Write all of `content` and force it to the disk."""
    if isinstance(content, Path):
        with content.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    else:
        file.write(content)
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """A rename is durable only when its directory is on the disk too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
