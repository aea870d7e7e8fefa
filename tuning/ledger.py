"""The ledger: a study's one record, append-only. All that a study knows is a pure function of its rows.

    <study>/ledger.jsonl    a row of JSON per line, on the disk before anything is done because of it

A kill loses at most the line that was being written, and going on is reading the file again. Rows are values with a
`kind`; each part of `tuning` has a union of its own and a `replay` from rows to its state. A line says when it was
written too, which no decision may depend on: rows and times are apart.
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from data_shards.shardset import Value
from data_shards.store import NotFoundError, open_store
from data_shards.store.local import sync_folder
from raytrain.errors import RunError
from raytrain.runlog import utc_now

LEDGER = "ledger.jsonl"
Row = TypeVar("Row", bound=Value)


class Called(Value):
    """A command that the study was begun or gone on with, and on how many workers each of its trainings is.

    train    the `raytrain train` of the recipe unchanged, on the same data and machines: with --set it is any trial
    """

    kind: Literal["called"] = "called"
    command: str
    workers: int
    train: str = ""


class _Line(BaseModel):
    """A line of the file: when it was written, and the row's own fields."""

    model_config = ConfigDict(extra="allow")
    time: datetime

    @property
    def row(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Ledger(Generic[Row]):
    """The rows of a study, and the only way to add one. One process writes at a time (`raytrain.session.run_lock`).

    `times` are those at which the rows were added, one each. `now` is the clock.
    `copy` is a store's URL (s3://...): each row is there too when `add` returns, and a study whose folder was lost
    goes on from it. Raises RunError where a row is damaged that is not the last, and where folder and copy have gone
    on apart.
    """

    def __init__(
        self,
        study: Path,
        kinds: TypeAdapter[Row],
        *,
        copy: str | None,
        say: Callable[[str], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.file, self.kinds, self.now = study / LEDGER, kinds, now
        self.times: list[datetime] = []
        self.store = open_store(copy) if copy else None
        if copy:
            self._agree(copy, say)
        self.rows: list[Row] = []
        if self.file.exists():
            self.rows, self.times, whole = read_ledger(self.file, kinds)
            if whole < self.file.stat().st_size:
                say(f"{self.file}: the last line was not written to its end, and is left out")
                os.truncate(self.file, whole)

    def add(self, row: Row) -> None:
        """Write a row down, durably. Raises RunError where the disk does not take it; the rows are what they were."""
        size = self.file.stat().st_size if self.file.exists() else 0
        time = self.now()
        stamp = f'{{"time":"{time.isoformat(timespec="milliseconds")}",'.encode()
        try:
            with self.file.open("ab") as file:
                file.write(stamp + self.kinds.dump_json(row)[1:] + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if not size:
                sync_folder(self.file.parent)
        except OSError as error:
            if self.file.exists():
                os.truncate(self.file, size)
            raise RunError(
                f"{self.file} cannot be written: {error.strerror}; make room there, then the same command goes on"
            ) from None
        if self.store is not None:
            self.store.write(LEDGER, self.file.read_bytes())
        self.rows.append(row)
        self.times.append(time)

    def note(self, row: Row) -> None:
        """Add a row unless there is one like it: the same command again says nothing new."""
        if row not in self.rows:
            self.add(row)

    def _agree(self, copy: str, say: Callable[[str], None]) -> None:
        """Bring the folder up to its copy, where the study went on from that on another machine."""
        assert self.store is not None
        try:
            there = self.store.read(LEDGER)
        except NotFoundError:
            return
        here = self.file.read_bytes() if self.file.exists() else b""
        if here.startswith(there):
            return
        if not there.startswith(here[: here.rfind(b"\n") + 1]):
            raise RunError(
                f"{self.file} and its copy in {copy} have gone on apart: keep the one that is wanted, and move "
                "the other away"
            )
        open_store(str(self.file.parent)).write(LEDGER, there)
        say(f"{self.file}: taken from its copy in {copy}")


def read_ledger(file: Path, kinds: TypeAdapter[Row]) -> tuple[list[Row], list[datetime], int]:
    """All whole rows of the file, when they were written, and how many bytes they are; the file is left as it is.

    A last line without its end is not among them: a crash cut it short, or it is being written now. Raises RunError
    where another line is damaged.
    """
    *lines, rest = file.read_bytes().split(b"\n")
    rows: list[Row] = []
    times: list[datetime] = []
    whole = 0
    for number, line in enumerate(lines, start=1):
        try:
            written = _Line.model_validate_json(line)
            rows.append(kinds.validate_python(written.row))
        except ValidationError as error:
            problem = error.errors()[0]["type"]
            if problem.startswith("union_tag") or (number == 1 and problem == "missing"):
                raise RunError(
                    f"{file}, line {number}, is no row of such a study: the folder is another command's, or another "
                    "version's; use another --out"
                ) from None
            if number == len(lines) and not rest:
                break
            raise RunError(
                f"{file}, line {number} of {len(lines)}, is damaged ({error.errors()[0]['msg']}): put the file back "
                "from a copy, or start again in another folder"
            ) from None
        times.append(written.time)
        whole += len(line) + 1
    return rows, times, whole
