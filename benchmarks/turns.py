"""Every path in its process, and the turns they take."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from environments import NotInstalledError, interpreter, last_line
from rows import Row

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
HERE = Path(__file__).parent


class OutError(Exception):
    """A path is out of the measurement; the message says why."""


class Runner:
    """The process of one path. It is asked one thing at a time, so that only one of all is ever at work."""

    def __init__(self, row: Row, data: dict[str, str], scratch: Path) -> None:
        """Start it and let it open its data. OutError where it cannot."""
        self.row, self._log = row, scratch / "log"
        try:
            python = interpreter(row.environment) if row.environment else Path(sys.executable)
        except NotInstalledError as reason:
            raise OutError(f"not installed: {reason}") from None
        options = {**row.options, "libraries": row.libraries}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "-m", "paths.child", row.module, json.dumps(options), json.dumps(data)],
                cwd=HERE, env=os.environ | ONE_THREAD, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.versions: dict[str, str] = self._answer()["versions"]

    def epoch(self) -> dict[str, float]:
        """One pass: images, CPU seconds, wall seconds."""
        return self._ask("epoch")

    def crops(self, asked: Path) -> Path:
        """The .npy file of the crops that the JSON file asks for."""
        return Path(self._ask(f"crops {asked}")["crops"])

    def end(self) -> None:
        """Let it end, whatever it still does."""
        self._process.kill()
        self._process.wait()

    def _ask(self, question: str) -> Any:
        try:
            print(question, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise OutError(last_line(self._log.read_text())) from None
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise OutError(last_line(self._log.read_text()))
        return json.loads(line)


def take_turns(
    runners: dict[str, Runner], repeats: int, say: Any
) -> tuple[dict[str, list[dict[str, float]]], dict[str, str]]:
    """(passes by path, why by path that failed): one unmeasured pass each, then `repeats`; the order alternates."""
    passes: dict[str, list[dict[str, float]]] = {title: [] for title in runners}
    out: dict[str, str] = {}
    for turn in range(-1, repeats):
        for title in list(runners)[:: -1 if turn % 2 else 1]:
            if title in out:
                continue
            try:
                measured = runners[title].epoch()
            except OutError as reason:
                out[title] = str(reason)
                continue
            if turn >= 0:
                passes[title].append(measured)
        say(f"round {turn + 1} of {repeats}")
    return {title: done for title, done in passes.items() if title not in out}, out
