"""The run's log survives what a kill or a crash does to files."""

import json
from pathlib import Path

import pytest

from raytrain.runlog import EVENTS, append, cut_after, event, last_rows, read_rows


def test_a_line_cut_short_costs_only_itself(tmp_path: Path) -> None:
    for number in (1, 2):
        event(tmp_path, "checkpoint", step=number)
    file = tmp_path / EVENTS
    file.write_bytes(file.read_bytes()[:-9])
    assert [row["step"] for row in read_rows(file)] == [1]
    for number in (3, 4):
        event(tmp_path, "checkpoint", step=number)
    assert [row["step"] for row in read_rows(file)] == [1, 3, 4]
    assert [row["step"] for row in last_rows(file, 2)] == [3, 4]


def test_an_intact_log_is_one_line_per_row(tmp_path: Path) -> None:
    for number in range(3):
        append(tmp_path / "log.jsonl", {"n": number})
    assert [json.loads(line)["n"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [0, 1, 2]


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (9, 3)])
@pytest.mark.parametrize("stump", [b"", b'{"step": 5, "lo'])
def test_going_on_drops_what_came_after_and_touches_nothing_before(
    step: int, kept: int, stump: bytes, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    lines = [b'{"step": 1}\n', b'{"step":  2}\n{"st\n', b'{"step": 4}\n']
    log.write_bytes(b"".join(lines) + stump)
    cut_after(log, step)
    left = log.read_bytes()
    assert [row["step"] for row in read_rows(log)] == [1, 2, 4][:kept]
    assert b"".join(lines).startswith(left)
    assert left.count(b"step") == kept
    cut_after(tmp_path / "absent", step)
    assert not (tmp_path / "absent").exists()
