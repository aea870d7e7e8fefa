"""The run's log survives what a kill or a crash does to files."""

import json
from pathlib import Path

from raytrain.runlog import EVENTS, append, event, last_rows, read_rows


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
