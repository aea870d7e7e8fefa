"""The house's rules, held: who may import whom, one door per heavy library, light start-up, budgets of size."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cluster", "data_shards", "raytrain", "tuning")

MAY_IMPORT = {
    "cluster": set(),
    "data_shards": set(),
    "raytrain": {"cluster", "data_shards"},
    "tuning": {"raytrain", "cluster", "data_shards"},
}

# A heavy library, and the only files (or folders) that may import it at all.
DOORS = {
    "boto3": ("data_shards/store/s3.py",),
    "botocore": ("data_shards/store/s3.py",),
    "webdataset": ("data_shards/",),
    "deepspeed": ("raytrain/engine_deepspeed.py",),
    "safetensors": ("raytrain/weights/files.py",),
    "ray.train": ("raytrain/attempt.py", "raytrain/failures.py"),
    "ray.tune": ("tuning/",),
    "optuna": ("tuning/",),
    "ray.job_submission": ("cluster/jobs.py",),
}

# What the rest of its room may import from raytrain.recipes: the names, never a recipe.
RECIPES_DOOR = ("recipe", "names", "variants", "builders", "GROUPS", "assumed")

LIGHT = {  # a command line, and what it may not load
    "--help": ("torch", "ray", "numpy", "pydantic"),
    "recipes": ("torch", "ray"),
    "plan smoke_swin_22k": ("torch", "ray"),
    "data --help": ("torch", "ray"),
    "report --help": ("torch", "ray", "optuna", "matplotlib"),
    "tune --help": ("torch", "ray", "optuna"),
    "tune --list-spaces": ("torch", "ray", "optuna"),
    "cluster --help": ("torch", "ray"),
}


def sources(root: Path) -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((root / room).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module a file names in an import, at any depth; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken_walls(root: Path) -> list[str]:
    found = []
    for file in sources(root):
        place = file.relative_to(root).as_posix()
        room = place.split("/")[0]
        for module in imports(file):
            other = module.split(".")[0]
            if other in ROOMS and other != room and other not in MAY_IMPORT[room]:
                found.append(f"{place} imports {module}: {room} may not know {other}")
            if (
                module.startswith("raytrain.recipes.")
                and place.startswith("raytrain/")
                and "recipes/" not in place
            ):
                found += [f"{place} imports {module}"] if module.split(".")[2] not in RECIPES_DOOR else []
            for library, doors in DOORS.items():
                if (module == library or module.startswith(f"{library}.")) and not place.startswith(doors):
                    found.append(f"{place} imports {module}: its door is {' or '.join(doors)}")
    return sorted(set(found))


def test_rooms_know_only_whom_they_may() -> None:
    assert len(list(sources(ROOT))) > 60
    assert broken_walls(ROOT) == []


@pytest.mark.parametrize(
    ("place", "line", "complaint"),
    [
        ("cluster/planted.py", "import raytrain.plan", "cluster may not know raytrain"),
        ("data_shards/planted.py", "from tuning import space", "data_shards may not know tuning"),
        ("raytrain/planted.py", "def f():\n    import deepspeed", "its door is raytrain/engine_deepspeed.py"),
        ("raytrain/planted.py", "from ray import train", "its door is raytrain/attempt.py"),
        (
            "raytrain/planted.py",
            "from raytrain.recipes.smoke import smoke_swin_22k",
            "raytrain/planted.py imports",
        ),
        ("tuning/planted.py", "import boto3", "its door is data_shards/store/s3.py"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, line: str, complaint: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(line)
    assert any(complaint in found for found in broken_walls(tmp_path))


def test_light_commands_load_nothing_heavy() -> None:
    """All in one process: the first that loads something is told."""
    program = "import sys\nfrom raytrain.console import main\n"
    for command, heavy in LIGHT.items():
        program += (
            f"sys.argv = ['raytrain', *{command.split()!r}]\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            f"loaded = [name for name in {heavy!r} if name in sys.modules]\n"
            f"assert not loaded, ({command!r}, loaded)\n"
        )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            yield f"{file.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


def test_files_and_functions_stay_readable() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in sources(ROOT)}
    assert {name: count for name, count in lines.items() if count > 400} == {}
    lengths = dict(pair for file in sources(ROOT) for pair in functions(file))
    assert {name: count for name, count in lengths.items() if count > 80} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 15, "the median function"
