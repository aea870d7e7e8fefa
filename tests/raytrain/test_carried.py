"""A command for a cluster is refused here if it would be refused there; what only the cluster knows is not asked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.fleet import Fleet
from raytrain.console import app

FLEET = Fleet(name="tight", workers_per_node=8, gpu=True, memory_gib=3.0)
TRAIN = ["train", "swin_b_22k_224", "--data", "s3://nowhere/set", "--out", "/nowhere/run"]


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    (tmp_path / "fleet.yaml").write_text(FLEET.model_dump_json(exclude_none=True))
    return str(tmp_path / "fleet.yaml")


def rendered(fleet: str, *carried: str) -> Result:
    return CliRunner().invoke(app, ["cluster", "render", "--fleet", fleet, "--", *carried])


@pytest.mark.parametrize(
    ("carried", "said"),
    [
        (["trian", *TRAIN[1:]], "No such command 'trian'"),
        (["data", "pakc", "images"], "No such command 'pakc'"),
        (["data", "pack", "images", "--otu", "shards"], " data pack [OPTIONS]"),
        (TRAIN[:4], "Missing option '--out'"),
        ([*TRAIN, "--zero", "4"], "Invalid value for '--zero'"),
    ],
)
def test_what_is_misspelt_is_wrong_usage(fleet: str, carried: list[str], said: str) -> None:
    done = rendered(fleet, *carried)
    assert (done.exit_code, said in done.output) == (2, True), done.output


@pytest.mark.parametrize("verb", [["train"], ["tune"], ["improve", "--target", "top1>=0.8", "--budget", "9"]])
@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        ("swin_b_22k_22", [], "unknown recipe 'swin_b_22k_22'"),
        ("swin_b_22k_224", ["--set", "epoch=3"], "no field 'epoch'; the nearest: epochs"),
        ("swin_b_22k_224", ["--workers", "7"], "global batch 4096 does not divide over 7 workers"),
        (
            "swin_l_22k_224",
            ["--set", "view.image_size=384", "--set", "model.window=12"],
            "GiB per worker even at micro-batch 2, and fleet 'tight' has 3",
        ),
    ],
)
def test_what_makes_no_plan_is_refused_with_its_reason(
    fleet: str, verb: list[str], recipe: str, more: list[str], said: str
) -> None:
    done = rendered(fleet, verb[0], recipe, *TRAIN[2:], *verb[1:], *more)
    assert said in str(done.exception)
    assert done.output == ""


@pytest.mark.parametrize(
    "more",
    [
        ["--init", "s3://nowhere/run"],
        ["--teacher", "s3://nowhere/run", "--set", "distillation.kind=soft"],
        ["--set", "eval_split=minival"],
        ["--workers", "16", "--zero", "2"],
    ],
)
def test_what_only_the_cluster_knows_is_not_asked(fleet: str, more: list[str]) -> None:
    done = rendered(fleet, *TRAIN, *more)
    assert done.exit_code == 0, done.output
    assert " ".join([*TRAIN, *more]) in done.output


def test_recipes_in_files_and_other_commands_go_as_they_are(fleet: str) -> None:
    for carried in (
        ["train", "mine.py:recipe", *TRAIN[2:], "--set", "width=3"],
        ["data", "pack", "/nowhere", "--out", "s3://nowhere/set"],
        ["recipes"],
    ):
        done = rendered(fleet, *carried)
        assert (done.exit_code, " ".join(carried) in done.output) == (0, True), done.output
