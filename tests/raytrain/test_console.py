"""The command line, as a person meets it: help, plans, and one clear message for each mistake."""

import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import Said, runner
from fake_run import FakeRun
from plans import TINY_RESNET, paper_shardset, tiny_plan, tiny_recipe

from data_shards.shardset import load_shardset
from data_shards.store import open_store
from raytrain import checkpoint
from raytrain.console import COMMANDS
from raytrain.engine import EngineState
from raytrain.errors import RunError
from raytrain.manifest import key_of
from raytrain.models.build import build
from raytrain.plan import RunPlan
from raytrain.recipes import names
from raytrain.state import TrainState

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def raytrain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command line."""
    return runner(monkeypatch, capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A shard set's manifest: 400 images, 8 classes, nothing behind it."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "shardset.json").write_text(paper_shardset().model_dump_json())
    return folder


def refused(said: Said, code: int) -> str:
    """The one message of a command that was refused."""
    assert said.code == code, said
    assert said.err.startswith("error: "), said
    assert said.err.count("error:") == 1
    assert "Traceback" not in said.err
    assert said.out == ""
    return said.err.removeprefix("error: ").rstrip("\n")


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_every_command_with_its_line(raytrain: Callable[..., Said]) -> None:
    said = raytrain("--help")
    assert said.code == 0
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"\b{name} +{re.escape(line)}", said.out), name
    assert len(COMMANDS) == 12
    assert "75 stopped and can be continued" in said.out
    assert "completion" not in said.out


def test_the_version_is_the_packages(raytrain: Callable[..., Said]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert raytrain("--version") == Said(0, f"raytrain {project['version']}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(raytrain: Callable[..., Said], command: str) -> None:
    said = raytrain(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"raytrain {command}" in said.out
    assert "completion" not in said.out


def test_a_command_that_does_not_exist(raytrain: Callable[..., Said]) -> None:
    said = raytrain("trian")
    assert said.code == 2
    assert "No such command 'trian'. Did you mean 'train'" in said.err
    assert "Traceback" not in said.err


def test_a_whole_process_ends_with_the_same_code_and_message(data: Path) -> None:
    command = [sys.executable, "-m", "raytrain", "plan", "swin_xxl", "--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused(Said(done.returncode, done.stdout, done.stderr), 2).startswith("unknown recipe 'swin_xxl'")


def test_a_plan_loads_neither_torch_nor_ray(data: Path) -> None:
    done = python(
        "import sys\nfrom raytrain.console import main\n"
        f"sys.argv = ['raytrain', 'plan', 'smoke_swin_22k', '--data', {str(data)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'ray', 'numpy', 'torchvision', 'webdataset', 'boto3'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\n"
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "optimizer.lr 0.002 x global batch 64 / 64" in done.stdout


def test_a_plan_for_machines_is_the_plan(raytrain: Callable[..., Said], data: Path) -> None:
    settings = ["--set", "epochs=3", "--set", "global_batch=48", "--workers", "3", "--engine", "torch"]
    said = raytrain("plan", "smoke_swin_22k", "--data", data, *settings, "--json")
    plan = RunPlan.model_validate_json(said.out)
    assert (said.code, plan.lengths.steps) == (0, 25)  # 3 x 400 / 48
    assert (plan.placement.workers, plan.placement.micro_batch, plan.placement.engine) == (3, 16, "torch")


@pytest.mark.parametrize(
    ("name", "images", "classes"),
    [
        ("swin_b_22k_224", 14_197_122, 21_841),
        ("swin_b_1k_224_from_22k", 1_281_167, 1_000),
        ("cbam_resnet50_1k_2018_paper", 1_281_167, 1_000),
        ("smoke_swin_22k", 4_800, 48),
        ("smoke_resnext_cbam_1k_scratch", 1_600, 16),
    ],
)
def test_without_data_a_recipe_is_planned_for_the_data_it_was_made_for(
    raytrain: Callable[..., Said], name: str, images: int, classes: int
) -> None:
    said = raytrain("plan", name, "--fleet", "h200x8", "--json")
    plan = RunPlan.model_validate_json(said.out)
    assert (plan.data.train_samples, plan.data.classes) == (images, classes)
    assert plan.data.name.startswith("assumed: ")


def test_recipes_are_listed(raytrain: Callable[..., Said]) -> None:
    listed = json.loads(raytrain("recipes", "--json").out)
    assert [entry["name"] for entry in listed] == names()
    said = raytrain("recipes")
    assert said.code == 0
    assert re.match(r"  name +top-1  what it trains", said.out)
    assert [name for name in names() if not re.search(rf"^  {name}\b", said.out, re.M)] == []


def test_recipes_are_listed_by_a_part_of_their_names(raytrain: Callable[..., Said]) -> None:
    said = raytrain("recipes", "swin_l")
    assert re.findall(r"^  (swin_l\w+) ", said.out, re.M) == [name for name in names() if "swin_l" in name]
    assert "CBAM" not in said.out
    assert [entry["name"] for entry in json.loads(raytrain("recipes", "smoke_swin_22k", "--json").out)] == [
        SWIN
    ]
    assert refused(raytrain("recipes", "swim_b"), 2).startswith(
        "no recipe has 'swim_b' in its name; the nearest: "
    )


SWIN = "smoke_swin_22k"
WRONG_PLANS = [
    (["swin_b"], 2, "unknown recipe 'swin_b'; the nearest: swin_b_1k_384, swin_b_1k_224"),
    (
        ["swin_t_1k_224", "--fleet", "h200x8", "--set", "global_batch=8"],  # a batch of one for each worker
        2,
        "global batch 8 does not divide over 8 workers in pairs, which mixup and cutmix need; the nearest that do: "
        "--set global_batch=16",
    ),
    (["absent.py:mine"], 2, "recipe absent.py:mine: there is no file absent.py"),
    (
        [SWIN, "--set", "optimiser.lr=1"],
        2,
        f"recipe '{SWIN}' has no field 'optimiser.lr'; the nearest: optimizer.lr",
    ),
    ([SWIN, "--set", "optimizer.lr"], 2, "--set optimizer.lr: write path=value"),
    ([SWIN, "--set", "optimizer.lr=fast"], 2, '--set optimizer.lr="fast": should be a valid number'),
    ([SWIN, "--set", "model.embed_dim=50"], 2, "--set model.embed_dim=50: embed_dim 50 is not a multiple"),
    (
        [SWIN, "--set", "distillation.alpha=0.9"],
        2,
        "distillation.* is set, and there is no teacher to learn from",
    ),
    ([SWIN, "--set", "view.image_size=40"], 2, "image size 40 is not tiled by window 4 in every stage"),
    ([SWIN, "--set", "eval_split=test"], 1, "shard set 'paper' has no split 'test'; it has train, val"),
    (
        [SWIN, "--workers", "3"],
        2,
        "global batch 64 does not divide over 3 workers; the nearest that do: --set global_batch=63 or 66",
    ),
    ([SWIN, "--workers", "0"], 2, "--workers 0: a run needs at least 1 worker"),
    (
        [SWIN, "--fleet", "h100"],
        2,
        "unknown fleet 'h100': a preset (local, local-2, h100x8, ",
    ),
    ([SWIN, "--fleet", "absent.yaml"], 2, "no fleet file at absent.yaml"),
    ([SWIN, "--engine", "deepsped"], 2, "--engine deepsped: it is deepspeed or torch"),
    (["swin_l_22k_224"], 2, "swin_l_22k_224 needs about"),
    ([SWIN, "--init", "nowhere"], 2, f"{Path.cwd()}/nowhere holds no checkpoint"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG_PLANS)
@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_wrong_wish_is_one_clear_message_before_anything_starts(
    raytrain: Callable[..., Said],
    data: Path,
    tmp_path: Path,
    command: str,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    out = ["--out", tmp_path / "out"] if command == "train" else []
    said = refused(raytrain(command, *arguments, "--data", data, *out), code)
    assert said.startswith(message)
    assert "further information" not in said
    assert not (tmp_path / "out").exists()


def test_a_broken_fleet_file(raytrain: Callable[..., Said], data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmemory: 80\n")
    said = refused(raytrain("plan", SWIN, "--data", data, "--fleet", file), 2)
    assert said.startswith(f"{file}: memory: no such field; there are name, nodes,")


def test_data_that_is_not_there_or_damaged(raytrain: Callable[..., Said], data: Path) -> None:
    said = refused(raytrain("plan", SWIN, "--data", data / "nothing"), 1)
    assert said.startswith(f"no shard set at {data}/nothing: shardset.json is missing")
    (data / "shardset.json").write_text('{"format": 1')
    said = refused(raytrain("plan", SWIN, "--data", data), 1)
    assert said.startswith(f"{data}/shardset.json is damaged")
    (data / "shardset.json").write_bytes(b"\xff\x00")
    refused(raytrain("plan", SWIN, "--data", data), 1)


def test_options_that_are_missing_or_of_another_type(raytrain: Callable[..., Said], data: Path) -> None:
    """Typer's own messages: still exit code 2 and no traceback."""
    for arguments, said in (
        (["train", SWIN, "--out", "run"], "Missing option '--data'"),
        (["train", SWIN, "--data", data], "Missing option '--out'"),
        (["plan", SWIN, "--data", data, "--workers", "two"], "Invalid value for '--workers'"),
        (["plan", SWIN, "--data", data, "--zero", "4"], "Invalid value for '--zero'"),
    ):
        found = raytrain(*arguments)
        assert found.code == 2
        assert said in found.err
        assert "Traceback" not in found.err


def claim(run: Path, plan: RunPlan, data: str = "d") -> None:
    """As the driver does it; Ray is loaded here."""
    from raytrain import driver
    from raytrain.job import Job

    with driver.run_lock(run):
        job = Job(plan=plan, data_url=data, run=str(run))
        driver.check_claim(run, job)
        driver.claim(job)


def trained(run: Path) -> None:
    """One step, as the log has it."""
    (run / "metrics.jsonl").write_text('{"step": 1}\n')


def test_a_run_folder_belongs_to_one_plan(tmp_path: Path) -> None:
    run = tmp_path / "run"
    claim(run, tiny_plan())
    assert RunPlan.model_validate_json((run / "plan.json").read_text()) == tiny_plan()
    assert json.loads((run / "job.json").read_text()) == {"data_url": "d"}
    claim(run, tiny_plan(workers=4), "moved")  # the same run, on other machines
    assert RunPlan.model_validate_json((run / "plan.json").read_text()).placement.workers == 4
    trained(run)
    before = (run / "plan.json").read_bytes()
    with pytest.raises(RunError) as refusal:
        claim(run, tiny_plan(seed=1, epochs=3))
    said = str(refusal.value)
    assert said.startswith(f"{run} holds another run; the plans differ in\n")
    assert "\n  recipe.seed: 0 -> 1\n" in said
    assert "\n  recipe.epochs: 2.0 -> 3.0\n" in said
    assert said.endswith("Use another --out, or the same settings to continue it")
    assert (run / "plan.json").read_bytes() == before


def test_a_plan_that_failed_before_its_first_step_gives_way(tmp_path: Path) -> None:
    claim(tmp_path, tiny_plan())
    claim(tmp_path, tiny_plan(seed=1))
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000002" / "model.pt").write_bytes(b"half")
    with pytest.raises(RunError, match="holds another run"):
        claim(tmp_path, tiny_plan(seed=2))


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("my only copy")
    with pytest.raises(RunError, match=r"holds other files \(thesis\.tex, \.\.\.\); use an empty --out"):
        claim(tmp_path, tiny_plan())
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["thesis.tex"]
    with pytest.raises(RunError, match=r"thesis\.tex is a file; use a folder for --out"):
        claim(tmp_path / "thesis.tex", tiny_plan())


def test_a_damaged_plan_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"recipe": ')
    with pytest.raises(
        RunError, match=r"plan\.json cannot be read: the file: invalid json.*or another folder"
    ):
        claim(tmp_path, tiny_plan())
    assert (tmp_path / "plan.json").read_text() == '{"recipe": '


def test_a_fine_tune_into_a_damaged_plan_is_one_message(
    raytrain: Callable[..., Said], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{")
    said = raytrain("train", "smoke_swin_1k", "--data", data, "--out", tmp_path / "run", "--init", tmp_path)
    assert "plan.json cannot be read" in refused(said, 1)


@pytest.mark.parametrize(
    ("command", "out"), [("train", "file/run"), ("tune", "file"), ("tune", "file/sweep")]
)
def test_an_out_under_a_file_is_one_message(
    raytrain: Callable[..., Said], data: Path, tmp_path: Path, command: str, out: str
) -> None:
    (tmp_path / "file").write_text("")
    said = raytrain(command, "smoke_swin_22k", "--data", data, "--out", tmp_path / out)
    assert said.code == 1
    assert re.fullmatch(rf"error: .*{tmp_path / out}( is a file.*|: Not a directory)\n", said.err)


def test_sigterm_ends_a_command_that_a_script_started_in_the_background(tmp_path: Path) -> None:
    """A shell without job control starts `command &` with SIGINT ignored."""
    script = (
        f"{sys.executable} -m raytrain data synth {tmp_path}/set --images 5000 >{tmp_path}/out 2>&1 & pid=$!\n"
        f"while ! [ -e {tmp_path}/set/train ]; do sleep 0.1; done\n"
        "kill -TERM $pid; wait $pid; echo $?"
    )
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert ended.stdout == "130\n"
    assert "Traceback" not in (tmp_path / "out").read_text()


def test_sigterm_and_ctrl_c_ask_and_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    from raytrain.driver import stopping_politely

    said, before = list[str](), signal.getsignal(signal.SIGINT)
    with stopping_politely(tmp_path, said.append):
        signal.raise_signal(signal.SIGTERM)
        assert (tmp_path / "stop").exists()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        (tmp_path / "stop").unlink()
        signal.raise_signal(signal.SIGINT)
        assert (tmp_path / "stop").exists()
    assert [line.split(":")[0] for line in said] == ["SIGTERM", "SIGINT"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_host_that_does_not_answer_is_one_message(
    tmp_path: Path, raytrain: Callable[..., Said], data: Path
) -> None:
    said = raytrain(
        "train", "smoke_swin_22k", "--data", data, "--out", tmp_path / "run", "--address", "127.0.0.1:1"
    )
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "no Ray cluster answers at 127.0.0.1:1: Connection refused" in said.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_second_driver_writes_nothing(tmp_path: Path) -> None:
    from raytrain.driver import run_lock

    claim(tmp_path / "run", tiny_plan())
    before = (tmp_path / "run" / "plan.json").read_bytes()
    with (
        run_lock(tmp_path / "run"),
        pytest.raises(
            RunError, match=f"another raytrain is working on {tmp_path}/run; wait for it or stop it"
        ),
    ):
        claim(tmp_path / "run", tiny_plan(workers=4))
    assert (tmp_path / "run" / "plan.json").read_bytes() == before
    claim(tmp_path / "run", tiny_plan(workers=4))


def test_what_a_killed_first_attempt_left_is_no_other_run(tmp_path: Path) -> None:
    (tmp_path / ".plan.json.x1.tmp").write_text("{")
    claim(tmp_path, tiny_plan())


def test_train_into_another_run_says_so(raytrain: Callable[..., Said], data: Path, tmp_path: Path) -> None:
    claim(tmp_path / "run", tiny_plan())
    trained(tmp_path / "run")
    said = raytrain("train", SWIN, "--data", data, "--out", tmp_path / "run")
    assert said.code == 1
    assert said.err.startswith(f"error: {tmp_path}/run holds another run; the plans differ in\n")
    assert '\n  recipe.name: "tiny" -> "smoke_swin_22k"\n' in said.err
    said = raytrain("tune", SWIN, "--data", data, "--out", "s3://bucket/study")
    assert (said.code, "--out s3://bucket/study: a study's folder lies on a disk" in said.err) == (2, True)


@pytest.fixture
def run(small_set: str, tmp_path: Path) -> Path:
    """A run with one checkpoint of an untrained network for the small set's classes."""
    shardset = load_shardset(small_set)
    module = build(TINY_RESNET, len(shardset.classes), 16, seed=0)
    engine = EngineState(model=module.state_dict(), moments={}, applied=0)
    plan = tiny_plan(precision="fp32")
    assert plan.recipe == tiny_recipe(precision="fp32")
    checkpoint.save(open_store(str(tmp_path / "run")), plan, shardset.classes, TrainState(step=3), engine, 1)
    return tmp_path / "run"


def test_a_checkpoint_is_evaluated_in_words_and_in_json(
    raytrain: Callable[..., Said], run: Path, small_set: str
) -> None:
    said = raytrain("eval", run, "--data", small_set)
    assert (said.code, said.err) == (0, f"checkpoint: {run / key_of(3)}, step 3\n")
    assert said.out.startswith("30 images of split 'val', each once\n  top-1 ")
    found = json.loads(
        raytrain("eval", run / key_of(3), "--data", small_set, "--split", "train", "--json").out
    )
    assert (found["samples"], found["split"], len(found["per_class"])) == (120, "train", 6)
    assert torch.is_grad_enabled()


def test_eval_refuses_what_it_cannot_compare(
    raytrain: Callable[..., Said], run: Path, small_set: str, data: Path, tmp_path: Path
) -> None:
    said = refused(raytrain("eval", tmp_path / "none", "--data", small_set), 2)
    assert said.startswith(f"{tmp_path}/none holds no checkpoint")
    said = refused(raytrain("eval", run, "--data", data), 2)
    assert said.startswith(f"{run} predicts 6 classes, {data} has 8, 0 in common")
    assert "raytrain train --init" in said
    assert "has no split 'test'" in refused(raytrain("eval", run, "--data", small_set, "--split", "test"), 1)
    (run / key_of(3) / "model.pt").write_bytes(b"not the weights")
    said = refused(raytrain("eval", run, "--data", small_set), 1)
    assert "every finished checkpoint of this run is damaged" in said
    assert f"{key_of(3)}/model.pt is damaged" in said


def test_the_same_classes_in_another_order_are_other_classes(
    raytrain: Callable[..., Said], run: Path, small_set: str, data: Path
) -> None:
    there = load_shardset(small_set)
    turned = there.model_copy(update={"classes": there.classes[::-1]})
    (data / "shardset.json").write_text(turned.model_dump_json())
    assert "6 classes" in refused(raytrain("eval", run, "--data", data), 2)


def test_a_teacher_is_planned_or_refused(
    raytrain: Callable[..., Said], run: Path, small_set: str, data: Path, tmp_path: Path
) -> None:
    said = raytrain("plan", SWIN, "--data", small_set, "--teacher", run)
    assert (said.code, f"teacher           {run}/{key_of(3)}" in said.out) == (0, True)
    said = refused(raytrain("plan", SWIN, "--data", data, "--teacher", run), 2)
    assert said.startswith("the teacher knows 6 classes, and 8 of the data's 8 are not among them")
    said = refused(raytrain("train", SWIN, "--data", data, "--out", tmp_path / "new", "--teacher", data), 2)
    assert said.startswith(f"{data} holds no checkpoint")


def test_layer_decay_is_shown_by_group_or_refused(raytrain: Callable[..., Said]) -> None:
    decayed = ("--set", "optimizer.layer_decay=0.5")
    said = raytrain("plan", SWIN, "--lr-table", *decayed)
    assert (said.code, said.err) == (0, "")
    assert [line.split()[:2] for line in said.out.splitlines() if line.startswith(" layer")][-1] == [
        "layer",
        "7",
    ]
    said = refused(raytrain("plan", "cbam_resnext50_1k_2018", *decayed), 2)
    assert said.endswith("Use --set optimizer.layer_decay=1")


def test_the_micro_batch_is_found_on_gpus_only(
    raytrain: Callable[..., Said], data: Path, tmp_path: Path
) -> None:
    said = raytrain("plan", SWIN, "--auto-micro-batch", "--fleet", "h200x8")
    assert (said.code, "a first guess, the workers try" in said.out) == (0, True)
    said = raytrain("train", SWIN, "--data", data, "--out", tmp_path / "run", "--auto-micro-batch")
    assert refused(said, 2).startswith(
        "--auto-micro-batch tries sizes until a GPU is out of memory, and fleet 'local'"
    )


def test_a_report_of_no_run(raytrain: Callable[..., Said], tmp_path: Path) -> None:
    said = refused(raytrain("report", tmp_path), 1)
    assert said.startswith(str(tmp_path))
    assert "plan.json" in said
    assert list(tmp_path.iterdir()) == [], "nothing is written"
    said = refused(raytrain("report", tmp_path / "absent"), 1)
    assert "plan.json" in said
    assert not (tmp_path / "absent").exists()


def test_a_report_of_a_run_is_where_it_says(
    raytrain: Callable[..., Said], data: Path, tmp_path: Path
) -> None:
    FakeRun(tmp_path / "run", tiny_plan(), str(data), top1=0.8).train(50).finish()
    said = raytrain("report", tmp_path / "run", "--out", tmp_path / "pages")
    assert said.code == 0
    assert said.out.rstrip().endswith(f"report: {tmp_path}/pages/report.html")
    assert (tmp_path / "pages" / "report.html").stat().st_size > 5000
    listed = json.loads(raytrain("report", tmp_path / "run", "--json").out)
    assert [entry["plan"]["recipe"]["name"] for entry in listed] == ["tiny"]
