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
        ("swin_b_22k_224", ["--fleet", "h100x9"], "unknown fleet 'h100x9'"),
        ("swin_b_22k_224", ["--fleet", "theirs.yaml", "--set", "epoch=3"], "the nearest: epochs"),
        ("mine.py:recipe", ["--workers", "0"], "--workers 0"),
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
        ["--workers", "7", "--fleet", "theirs.yaml"],
        ["--fleet", "h100x8", "--auto-micro-batch"],
    ],
)
def test_what_only_the_cluster_knows_is_not_asked(fleet: str, more: list[str]) -> None:
    done = rendered(fleet, *TRAIN, *more)
    assert done.exit_code == 0, done.output
    assert " ".join([*TRAIN, *more]) in done.output


def test_the_command_s_own_fleet_is_planned_for_and_not_the_environment_s(fleet: str, monkeypatch) -> None:
    large = ["--set", "view.image_size=384", "--set", "model.window=12"]
    monkeypatch.setenv("RAYTRAIN_FLEET", "h100x8")
    assert "fleet 'tight' has 3" in str(
        rendered(fleet, "train", "swin_l_22k_224", *TRAIN[2:], *large).exception
    )
    done = rendered(fleet, "train", "swin_l_22k_224", *TRAIN[2:], *large, "--fleet", "h100x8")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--engine", "torhc"], "--engine torhc: it is deepspeed or torch"),
        (
            ["--auto-micro-batch", "--fleet", "local"],
            "--auto-micro-batch tries sizes until a GPU is out of memory",
        ),
    ],
)
def test_what_train_alone_is_asked_is_checked_too(fleet: str, more: list[str], said: str) -> None:
    assert said in str(rendered(fleet, *TRAIN, *more).exception)


def test_nodes_do_not_share_a_relative_folder(tmp_path: Path) -> None:
    (tmp_path / "rack.yaml").write_text(
        FLEET.model_copy(update={"nodes": 2}).model_dump_json(exclude_none=True)
    )
    rack = str(tmp_path / "rack.yaml")
    for recipe in ("swin_b_22k_224", "mine.py:recipe"):
        refused = rendered(rack, "train", recipe, "--data", "shards", "--out", "runs/a")
        assert "--out runs/a: on each of 2 nodes that is another folder" in str(refused.exception)
    for out in ("/shared/a", "s3://bucket/a"):
        assert rendered(rack, "train", "swin_b_22k_224", "--data", "shards", "--out", out).exit_code == 0


def test_recipes_in_files_and_other_commands_go_as_they_are(fleet: str) -> None:
    for carried in (
        ["train", "mine.py:recipe", *TRAIN[2:], "--set", "width=3"],
        ["data", "pack", "/nowhere", "--out", "s3://nowhere/set"],
        ["recipes"],
    ):
        done = rendered(fleet, *carried)
        assert (done.exit_code, " ".join(carried) in done.output) == (0, True), done.output


def test_the_commands_own_words_begin_with_its_first(fleet: str) -> None:
    told = CliRunner().invoke(app, ["cluster", "render", "--fleet", fleet, *TRAIN])
    assert (told.exit_code, told.output) == (0, rendered(fleet, *TRAIN).output)
    behind = CliRunner().invoke(app, ["cluster", "render", *TRAIN, "--name", "b22k"])
    assert (behind.exit_code, "No such option: --name" in behind.output) == (2, True)


@pytest.mark.parametrize("flavour", ["kuberay", "slurm", "vms"])
def test_a_folder_that_would_not_be_sent_is_refused(flavour: str, tmp_path: Path) -> None:
    words = ["cluster", "render", "--flavour", flavour, "--working-dir", str(tmp_path), "recipes"]
    assert "goes with flavour local or address" in str(CliRunner().invoke(app, words).exception)
