"""The ledger: nothing that was acknowledged is lost, whatever kills the writer; damage is said or refused."""

import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from data_shards.shardset import Value
from raytrain.errors import RunError
from tuning.ledger import LEDGER, Ledger


class Counted(Value):
    kind: Literal["counted"] = "counted"
    number: int
    text: str = ""


KINDS: TypeAdapter[Counted] = TypeAdapter(Counted)


def opened(study, copy=None):
    said = []
    return Ledger(study, KINDS, copy=copy, say=said.append), said


def numbers(ledger):
    return [row.number for row in ledger.rows]


def write_for_ever(study, acknowledged):
    ledger, _ = opened(study)
    for number in range(len(ledger.rows), 10**6):
        ledger.add(Counted(number=number, text="x" * (1 << 21)))  # long enough to be killed in the middle of
        acknowledged.value = number + 1


def test_a_writer_killed_at_any_moment_loses_no_acknowledged_row(tmp_path):
    forking = multiprocessing.get_context("fork")
    acknowledged, torn = forking.RawValue("i", 0), 0
    for kill in range(12):
        writer = forking.Process(target=write_for_ever, args=(tmp_path, acknowledged))
        writer.start()
        begun = acknowledged.value
        while kill % 4 == 0 and acknowledged.value == begun and writer.is_alive():
            time.sleep(0.001)  # a busy machine writes nothing in the time below
        time.sleep(0.03 + 0.007 * kill)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        ledger, said = opened(tmp_path)
        torn += len(said)
        assert numbers(ledger) == list(range(len(ledger.rows)))
        assert acknowledged.value <= len(ledger.rows) <= acknowledged.value + 1
        acknowledged.value = len(ledger.rows)
    assert len(ledger.rows) > 1
    print(f"{len(ledger.rows)} rows, {torn} torn lines")


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 120), rows=st.integers(1, 4))
def test_a_file_cut_anywhere_is_replayed_up_to_there(tmp_path_factory, cut, rows):
    study = tmp_path_factory.mktemp("cut")
    ledger, _ = opened(study)
    for number in range(rows):
        ledger.add(Counted(number=number, text="a\nb\rc"))
    whole = (study / LEDGER).read_bytes()
    kept = whole[: max(0, len(whole) - cut)]
    (study / LEDGER).write_bytes(kept)
    again, said = opened(study)
    assert numbers(again) == list(range(kept.count(b"\n")))
    assert len(said) == (not kept.endswith(b"\n") and kept != b"")
    again.add(Counted(number=99))
    assert numbers(opened(study)[0]) == [*range(kept.count(b"\n")), 99]


@pytest.mark.parametrize(
    "last", [b'{"kind": "counted", "num\r\x00\xff', b"\x00" * 64, b'{"kind":"counted"}\n']
)
def test_a_corrupt_last_line_is_left_out_and_said(tmp_path, last):
    opened(tmp_path)[0].add(Counted(number=0))
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(last)
    ledger, said = opened(tmp_path)
    assert numbers(ledger) == [0]
    assert said == [f"{tmp_path / LEDGER}: the last line was not written to its end, and is left out"]
    assert opened(tmp_path)[1] == []  # it is gone


def test_a_damaged_line_in_the_middle_is_refused_by_number(tmp_path):
    ledger, _ = opened(tmp_path)
    for number in range(3):
        ledger.add(Counted(number=number))
    lines = (tmp_path / LEDGER).read_bytes().split(b"\n")
    damaged = b"\n".join([lines[0], lines[1].replace(b'"number":1', b'"number":"?"'), *lines[2:]])
    (tmp_path / LEDGER).write_bytes(damaged)
    with pytest.raises(
        RunError, match=r"ledger.jsonl, line 2 of 3, is damaged \(Input should be a valid integer"
    ):
        opened(tmp_path)
    assert (tmp_path / LEDGER).read_bytes() == damaged


def test_a_full_disk_leaves_whole_rows_only(small_disk):
    ledger, _ = opened(small_disk)
    ledger.add(Counted(number=0))
    with pytest.raises(RunError, match="cannot be written: No space left on device; make room"):
        ledger.add(Counted(number=1, text="x" * (1 << 20)))
    ledger.add(Counted(number=2))
    assert numbers(ledger) == numbers(opened(small_disk)[0]) == [0, 2]


def test_a_study_goes_on_from_its_copy_on_another_machine(tmp_path, s3_url):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    ledger, _ = opened(first, s3_url)
    ledger.add(Counted(number=0))
    ledger.add(Counted(number=1))

    other, told = opened(second, s3_url)  # the first machine is gone
    assert numbers(other) == [0, 1]
    assert told == [f"{second / LEDGER}: taken from its copy in {s3_url}"]
    other.add(Counted(number=2))

    back, told = opened(first, s3_url)  # and comes back: it is behind
    assert numbers(back) == [0, 1, 2]
    assert len(told) == 1

    apart, _ = opened(first)
    apart.add(Counted(number=3))
    other.add(Counted(number=33))
    with pytest.raises(RunError, match="have gone on apart: keep the one that is wanted"):
        opened(first, s3_url)
    assert numbers(opened(second, s3_url)[0]) == [0, 1, 2, 33]


def test_a_row_that_the_copy_lacks_reaches_it_with_the_next(tmp_path, s3_url):
    opened(tmp_path)[0].add(Counted(number=0))  # as if killed between the disk and the copy
    ledger, said = opened(tmp_path, s3_url)
    ledger.add(Counted(number=1))
    (tmp_path / "new").mkdir()
    assert said == []
    assert numbers(opened(tmp_path / "new", s3_url)[0]) == [0, 1]


def test_each_row_has_its_time_and_the_same_note_is_made_once(tmp_path):
    clock = iter(datetime(2026, 11, 25, 12, minute, tzinfo=UTC) for minute in range(60))
    ledger = Ledger(tmp_path, KINDS, copy=None, say=print, now=lambda: next(clock))
    for number in (1, 2, 1, 3):
        ledger.note(Counted(number=number))
    again, _ = opened(tmp_path)
    assert numbers(again) == [1, 2, 3]
    assert [time.minute for time in again.times] == [0, 1, 2]
    assert again.times == ledger.times
