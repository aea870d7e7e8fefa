"""Fleets: presets and files, and what is said of a wrong one."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ClusterUsageError
from cluster.fleet import Fleet, load_fleet, presets

RENTED = """\
name: rented
nodes: 4
workers_per_node: 8
gpu: true
cpus_per_worker: 12
memory_gib: 80
sustained_tflops: 210.5
node_price_per_hour: 25
placement: SPREAD
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rented.yaml"
    path.write_text(RENTED)
    return path


def refusal(name: str, workers: int | None = None) -> str:
    with pytest.raises(ClusterUsageError) as refused:
        load_fleet(name, workers)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_presets_are_known_by_their_names() -> None:
    assert {name: fleet.name for name, fleet in presets().items()} == {name: name for name in presets()}
    assert {name: fleet.workers for name, fleet in presets().items()} == {
        "local": 1,
        "local-2": 2,
        "h200x8": 8,
    }
    h200 = load_fleet("h200x8")
    assert (h200.gpu, h200.memory_gib, h200.nodes) == (True, 139, 1)
    assert [fleet.sustained_tflops for fleet in presets().values()] == [None] * 3, "nobody measured them"
    assert [fleet.peak_tflops for fleet in presets().values()] == [None, None, 989]
    assert [fleet.node_price_per_hour for fleet in presets().values()] == [None] * 3


def test_a_file_says_everything(file: Path) -> None:
    assert load_fleet(str(file)) == Fleet(
        name="rented",
        nodes=4,
        workers_per_node=8,
        gpu=True,
        cpus_per_worker=12,
        memory_gib=80,
        sustained_tflops=210.5,
        node_price_per_hour=25,
        placement="SPREAD",
    )
    assert load_fleet(str(file)).workers == 32


@given(st.integers(1, 1000))
def test_workers_can_be_said_for_one_node(workers: int) -> None:
    fleet = load_fleet("local", workers)
    assert fleet.workers == workers
    assert fleet.model_copy(update={"workers_per_node": 1}) == load_fleet("local")


def test_workers_of_many_nodes_cannot(file: Path) -> None:
    assert refusal(str(file), 3) == (
        "--workers 3 cannot change fleet 'rented' of 4 nodes: edit workers_per_node"
    )
    assert refusal("local", 0) == "--workers 0: a run needs at least 1 worker"


def test_an_unknown_name_lists_the_presets() -> None:
    assert refusal("h100x8") == (
        "unknown fleet 'h100x8': a preset (local, local-2, h200x8) or the path of a .yaml file"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nodes: 4", "nodes: many", "nodes: should be a valid integer"),
        ("nodes: 4", "nodes: 0", "nodes: should be greater than 0"),
        ("name: rented\n", "", "name: Field required"),
        ("gpu: true", "gpus: 8", "gpus: no such field; there are name, nodes, workers_per_node, gpu,"),
        ("memory_gib: 80", "memory_gib: .inf", "memory_gib: should be a finite number"),
        ("memory_gib: 80", "memory_gib: 80 GiB", "memory_gib: should be a valid number"),
        ("placement: SPREAD", "placement: WIDE", "PACK|SPREAD"),
        (
            "node_price_per_hour: 25",
            "node_price_per_hour: -25",
            "node_price_per_hour: should be greater than or equal to 0",
        ),
        (
            "node_price_per_hour: 25",
            "node_price_per_hour: 25 USD",
            "node_price_per_hour: should be a valid number",
        ),
        ("node_price_per_hour: 25", "price: 25", "price: no such field; there are name, nodes,"),
        ("sustained_tflops: 210.5", "peak_tflops: 0", "peak_tflops: should be greater than 0"),
        ("sustained_tflops: 210.5", "peak_tflops: 989 bf16", "peak_tflops: should be a valid number"),
        (RENTED, "", "the file: should be a valid dictionary"),
        (RENTED, "- name: rented", "the file: should be a valid dictionary"),
        ("nodes: 4", "nodes: [4", "is no YAML"),
        ("name: rented", "name: \x00", "is no YAML"),
    ],
)
def test_a_wrong_file_names_the_field(file: Path, old: str, new: str, said: str) -> None:
    file.write_text(RENTED.replace(old, new))
    refused = refusal(str(file))
    assert refused.startswith(str(file))
    assert said in refused
    assert "pydantic" not in refused


def test_what_is_no_text_file_is_refused_too(tmp_path: Path) -> None:
    binary, folder, absent = (tmp_path / name for name in ("binary.yaml", "folder.yaml", "absent.yml"))
    binary.write_bytes(b"\xff\xfe\x00name")
    folder.mkdir()
    assert refusal(str(binary)).startswith(f"{binary} is no YAML")
    assert refusal(str(folder)) == f"cannot read the fleet file {folder}: Is a directory"
    assert refusal(str(absent)) == f"no fleet file at {absent}"


def test_nothing_in_a_fleet_file_is_run(file: Path, tmp_path: Path) -> None:
    gadget = f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'mark'}']"
    file.write_text(gadget)
    assert "is no YAML" in refusal(str(file))
    assert not (tmp_path / "mark").exists()
    yaml.unsafe_load(gadget)
    assert (tmp_path / "mark").exists(), "the gadget works where it is let"
