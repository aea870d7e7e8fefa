"""A network's process, seen from outside: started, told to measure, ended when its time is up."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contenders.contender import ROWS, Case
from environments import last_line
from turns import ONE_THREAD

HERE = Path(__file__).parent.parent
PREPARING = 0.65
"""The share of the time after which no more contenders are prepared."""

Say = Callable[[str], None]


class Child:
    """A network's process, and what it has told. It is killed after `seconds`: what it told until then counts."""

    def __init__(self, case: Case, python: Path, seconds: float, scratch: Path, threads: int) -> None:
        self.case, self._log, self._seconds = case, scratch / f"{case.network}.log", seconds
        self.device: str | None = None
        self.timm: str | None = None
        self.rows: dict[str, dict[str, Any]] = {}
        self.out: dict[str, str] = {}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "-m", "contenders.child", json.dumps(case), str(PREPARING * seconds)],
                cwd=HERE, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=os.environ | environment(case, threads),
            )  # fmt: skip
        self._late = threading.Timer(seconds, self._process.kill)
        self._late.start()

    def prepare(self, say: Say) -> None:
        """Wait until all contenders are ready or left out."""
        for told in self._answers():
            if "prepared" in told:
                self.device, self.timm = told["device"], told["timm"]
                return
            title = told.pop("row")
            if "out" in told:
                self.out[title] = told["out"]
                say(f"{self.case.network}: {title} left out: {told['out']}")
            else:
                self.rows[title] = {**told, "seconds": []}
                say(f"{self.case.network}: {title} ready after {told['warm_up_seconds']:.0f} s")

    def measure(self, seconds: float, say: Say) -> None:
        """Let it take its rounds. What has not one is left out."""
        if self.device is not None:
            print(seconds, file=self._process.stdin, flush=True)
            for told in self._answers():
                for title, took in told["round"].items():
                    self.rows[title]["seconds"].append(took)
            say(f"{self.case.network}: measured")
        self._process.wait()
        ends = {0: "no time was left for a round", -signal.SIGKILL: "killed when its time was up"}
        why = ends.get(self._process.returncode) or last_line(self._log.read_text())
        for title in [row.title for row in ROWS if row.title not in self.out]:
            if not self.rows.get(title, {}).get("seconds"):
                self.rows.pop(title, None)
                self.out[title] = f"not measured in {self._seconds:.0f} s: {why}"

    def end(self) -> None:
        """Whatever it still does."""
        self._process.kill()
        self._process.wait()
        self._late.cancel()

    def _answers(self) -> Iterator[dict[str, Any]]:
        """What it tells until it ends."""
        assert self._process.stdout is not None
        return map(json.loads, self._process.stdout)


def compare_group(cases: list[Case], python: Path, seconds: float, scratch: Path, say: Say) -> list[Child]:
    """Networks that prepare at once and are measured in turn."""
    end, threads = time.monotonic() + seconds, max(1, len(os.sched_getaffinity(0)) // len(cases))
    children = [Child(case, python, seconds, scratch, threads) for case in cases]
    try:
        for child in children:
            child.prepare(say)
        for number, child in enumerate(children):
            child.measure((end - time.monotonic()) / (len(children) - number), say)
    finally:
        for child in children:
            child.end()
    return children


def environment(case: Case, threads: int) -> dict[str, str]:
    """Of a network's process. On a CPU it computes with one thread: several wait for each other on a busy machine."""
    alone = ONE_THREAD if case.device == "cpu" else {}
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "TORCHINDUCTOR_COMPILE_THREADS": str(threads), **alone}
