"""Measure, and write down what was measured: `make bench` runs every benchmark, `run.py NAME ...` some.

    benchmarks/results/NAME.json   every raw repeat, the medians, and the conditions they were measured under
    benchmarks/RESULTS.md          one table per benchmark, rewritten from all the JSON files

A benchmark is a module with two functions: `measure(scratch, say)` returns its settings, raw repeats and medians,
and `page(result)` tells them in Markdown. Each is measured in a process of its own, so that none inherits another's
imports, threads or environment.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from conditions import conditions, conditions_line

BENCHMARKS = (
    "startup", "submission", "restart", "checkpoints", "engine", "layers", "step", "loader", "parts", "processes",
    "order", "scale", "traffic", "damage", "faults", "decisions",
)  # fmt: skip
ON_REQUEST = ("sweeps", "gpu_decode", "gpu_step")
"""Not measured by `make bench`: the first takes most of an hour, the others need a CUDA device."""

HERE = Path(__file__).parent
HEAD = """# Measured

`make bench` rewrites this page from `benchmarks/results/*.json`, which hold every raw repeat. Nothing here is typed
in by hand. What is compared runs in turn on one machine, so that ratios survive a busy one; seconds are that
machine's own, under the load that its line states.
"""


def main() -> None:
    """Run the named benchmarks, or all; write the JSON of each as it ends, and the page at the end."""
    parser = argparse.ArgumentParser(description="Measure, and rewrite benchmarks/RESULTS.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS + ON_REQUEST))
    asked = parser.parse_args().names
    for name in asked:
        if name not in BENCHMARKS + ON_REQUEST:
            parser.error(f"no benchmark '{name}': there are {', '.join(BENCHMARKS + ON_REQUEST)}")
    command = " ".join(["python benchmarks/run.py", *asked])
    for name in asked or BENCHMARKS:
        began = time.monotonic()
        print(f"== {name} ==", flush=True)
        before = conditions(command)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            measured = alone.submit(run, name).result()
        seconds, after = round(time.monotonic() - began, 1), {"load_average_after": os.getloadavg()}
        write(name, {"name": name, "conditions": before | after, "seconds_to_measure": seconds, **measured})
        print(f"   ({seconds:.0f} s)", flush=True)
    print(f"wrote benchmarks/results and {write_page().name}")


def run(name: str) -> dict[str, Any]:
    """Measure one benchmark, in this process."""
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as scratch:
        measured: dict[str, Any] = import_module(name).measure(Path(scratch), say)
    return measured


def say(line: str) -> None:
    """A line of progress."""
    print(f"   {line}", flush=True)


def write(name: str, result: dict[str, Any]) -> None:
    """Put one benchmark's result in its JSON file."""
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps(rounded(result), indent=1) + "\n")


def rounded(value: Any) -> Any:
    """The same tree with every float at 6 significant digits: more than any clock here tells."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(held) for key, held in value.items()}
    return [rounded(held) for held in value] if isinstance(value, list | tuple) else value


def write_page() -> Path:
    """Tell every result that there is, in the order of their names above."""
    page = [HEAD]
    for name in BENCHMARKS + ON_REQUEST:
        file = HERE / "results" / f"{name}.json"
        if file.exists():
            result = json.loads(file.read_text())
            page.append(f"{import_module(name).page(result)}\n\n{conditions_line(result)}\n")
    (HERE / "RESULTS.md").write_text("\n".join(page))
    return HERE / "RESULTS.md"


if __name__ == "__main__":
    main()
