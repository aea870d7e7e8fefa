"""`raytrain export` and `--init FILE`: weights go out, come in, and say the same; what does not fit is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_shards.class_lists import class_list
from data_shards.errors import DataError, DataUsageError
from data_shards.store import open_store
from raytrain import checkpoint
from raytrain.cli.options import make_plan
from raytrain.engine import EngineState
from raytrain.errors import RunError, UsageError
from raytrain.models.build import build
from raytrain.models.spec import ResNetSpec, SwinSpec
from raytrain.plan import Init, RunPlan
from raytrain.state import TrainState
from raytrain.tell import plan_text
from raytrain.weights.export import export
from raytrain.weights.files import read_tensors
from raytrain.weights.layouts import from_ours
from raytrain.weights.source import init_from_file
from raytrain.weights.start import starting_weights
from raytrain.weights.windows import resize_table
from tests.raytrain.plans import tiny_plan

SWIN = SwinSpec(embed_dim=16, depths=(2, 2), head_dim=8, window=2)
CBAM = ResNetSpec(block="basic", depths=(1, 1, 1, 1), attention="cbam")
WNIDS = ("n01", "n02", "n03")


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """A run with one checkpoint of an untrained network, and an average that is another."""

    def make(spec: Any, image_size: int = 16) -> str:
        plan = tiny_plan(model=spec, precision="fp32")
        view = plan.recipe.view.model_copy(update={"image_size": image_size})
        plan = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"view": view})})
        weights = build(spec, len(WNIDS), image_size, seed=1).state_dict()
        average = build(spec, len(WNIDS), image_size, seed=2).state_dict()
        engine = EngineState(model=weights, moments={}, applied=0, ema=average)
        checkpoint.save(open_store(str(tmp_path / "run")), plan, WNIDS, TrainState(step=3), engine, 1)
        return str(tmp_path / "run")

    return make


def start(
    init: Init, spec: Any, classes: tuple[str, ...], image_size: int = 16
) -> tuple[dict[str, Tensor], list[str]]:
    return starting_weights(init, spec, build(spec, len(classes), image_size, seed=5), classes)


@pytest.mark.parametrize(
    ("spec", "layout", "name", "words"),
    [
        (SWIN, "raytrain", "w.safetensors", "torchvision's names"),
        (SWIN, "torchvision", "w.pth", "torchvision's names"),
        (SWIN, "timm", "w.safetensors", "timm's names"),
        (SWIN, "microsoft", "w.pth", "Microsoft's names"),
        (CBAM, "cbam", "w.pth.tar", "the CBAM authors' names"),
        (CBAM, "raytrain", "w.safetensors", "our own names"),
    ],
)
def test_weights_go_out_and_come_in_unchanged(
    saved: Callable[..., str], tmp_path: Path, spec: Any, layout: str, name: str, words: str
) -> None:
    found = export(saved(spec), layout, f"{tmp_path}/{name}", ema=False, say=silent)
    assert (found.classes_file, Path(found.classes_file).read_text()) == (
        f"{tmp_path}/w.classes.txt",
        "n01\nn02\nn03\n",
    )
    assert found.bytes == (tmp_path / name).stat().st_size
    state, lines = start(init_from_file(found.file, found.classes_file, None), spec, WNIDS)
    whole = build(spec, len(WNIDS), 16, seed=1).state_dict()
    assert state.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in state.items())
    assert lines[0] == f"{words}, 3 classes"
    assert lines[-1] == "3 classes of the head carried over by WNID"


def test_the_average_is_exported_when_asked_for(saved: Callable[..., str], tmp_path: Path) -> None:
    found = export(saved(SWIN), "raytrain", f"{tmp_path}/w.pth", ema=True, say=silent)
    state = read_tensors(Path(found.file).read_bytes(), found.file)
    assert torch.equal(state["head.weight"], build(SWIN, 3, 16, seed=2).state_dict()["head.weight"])


def test_a_smaller_window_and_other_classes_come_in(saved: Callable[..., str], tmp_path: Path) -> None:
    """Microsoft's layout, its buffers of the old window with it, into a window of 4 on 32 px: its rule for tables."""
    found = export(saved(SWIN), "microsoft", f"{tmp_path}/w.pth", ema=False, say=silent)
    wide = SWIN.model_copy(update={"window": 4})
    init = init_from_file(found.file, found.classes_file, None)
    state, lines = start(init, wide, ("n03", "n09", "n01"), 32)
    before, fresh = build(SWIN, 3, 16, seed=1).state_dict(), build(wide, 3, 32, seed=5).state_dict()
    table, index = (
        "features.3.1.attn.relative_position_bias_table",
        "features.3.1.attn.relative_position_index",
    )
    assert torch.equal(state[table], resize_table(before[table], 4))
    assert torch.equal(state[index], fresh[index])
    rows = [before["head.weight"][2], fresh["head.weight"][1], before["head.weight"][0]]
    assert torch.equal(state["head.weight"], torch.stack(rows))
    assert lines == [
        "Microsoft's names, 3 classes",
        f"{len(before) - 4 - 4 - 2} tensors carried over as they are",
        "4 bias tables interpolated from window 2 to 4 (bicubic, Microsoft's rule)",
        "2 classes of the head carried over by WNID",
        "1 classes start fresh, unknown to the checkpoint: n09",
        "1 classes of the checkpoint are left behind, unknown to the data",
    ]


@pytest.mark.parametrize(("order", "row"), [("imagenet-22k-microsoft", 14965), ("imagenet-22k", 14964)])
def test_rows_of_22k_become_1k_by_wnid_in_either_order(tmp_path: Path, order: str, row: int) -> None:
    """Class 981 of 1K is row 14965 of Swin's weights (Microsoft's map22kto1k.txt), and 14964 of sorted folders'."""
    state = build(SWIN, 21841, 16, seed=1).state_dict()
    torch.save({"model": state}, tmp_path / "w.pth")
    narrow = class_list("imagenet-1k")
    carried, lines = start(init_from_file(f"{tmp_path}/w.pth", order, None), SWIN, narrow)
    assert torch.equal(carried["head.weight"][981], state["head.weight"][row])
    assert lines[0] == f"torchvision's names, {order}"
    assert lines[-3:] == [
        "999 classes of the head carried over by WNID",
        "1 classes start fresh, unknown to the checkpoint: n04399382",
        "20842 classes of the checkpoint are left behind, unknown to the data",
    ]


@pytest.fixture
def file(tmp_path: Path) -> str:
    torch.save(build(SWIN, 3, 16, seed=1).state_dict(), tmp_path / "w.pth")
    (tmp_path / "three.txt").write_text("n01\nn02\nn03\n")
    return str(tmp_path / "w.pth")


def test_a_class_list_of_another_length_is_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"w\.pth has 3 rows, class list imagenet-1k names 1,000\. Give --init-classes the list",
    ):
        start(init_from_file(file, "imagenet-1k", None), SWIN, WNIDS)
    torch.save(build(SWIN, 1000, 16, seed=1).state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        UsageError, match=r"has 1,000 rows, .*names 21,841\. Of 1,000 there are --init-classes imagenet-1k"
    ):
        start(init_from_file(file, "imagenet-22k", None), SWIN, WNIDS)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("head.weight", ()),
        ("features.1.0.attn.relative_position_bias_table", (10, 1)),  # 10 is no square of an odd number
        ("features.1.0.attn.relative_position_bias_table", ()),
    ],
)
def test_a_tensor_of_an_impossible_shape_is_named(
    file: str, tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    state = torch.load(file, weights_only=True)
    assert name in state
    torch.save({**state, name: torch.zeros(shape)}, file)
    with pytest.raises(UsageError, match=re.escape(f"{name}: checkpoint {shape}")):
        start(init_from_file(file, str(tmp_path / "three.txt"), None), SWIN, WNIDS)


def test_a_file_without_a_class_list_is_refused_with_the_lists_there_are(file: str) -> None:
    with pytest.raises(
        UsageError, match=r"does not say which class a row .*--init-classes LIST(.|\n)*22k-microsoft "
    ):
        init_from_file(file, None, None)
    with pytest.raises(DataError, match=r"^no file .*/none\.pth$"):
        init_from_file(f"{file[:-5]}none.pth", None, None)


def test_a_class_list_with_a_duplicate_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / "three.txt").write_text("n01\nn02\nn01\n")
    with pytest.raises(DataUsageError, match=r"three\.txt: line 3 names n01 again, as line 1"):
        init_from_file(file, f"{tmp_path}/three.txt", None)


def test_what_was_planned_may_not_change(file: str, tmp_path: Path) -> None:
    init = init_from_file(file, f"{tmp_path}/three.txt", None)
    assert init_from_file(file, f"{tmp_path}/three.txt", init) is init
    (tmp_path / "three.txt").write_text("n03\nn02\nn01\n")
    with pytest.raises(RunError, match=r"the class list .*three\.txt changed since it was planned with"):
        start(init, SWIN, WNIDS)
    torch.save(build(SWIN, 3, 16, seed=2).state_dict(), file)
    with pytest.raises(RunError, match=r"w\.pth is another file than the one that was planned: sha256"):
        start(init, SWIN, WNIDS)
    with pytest.raises(DataError, match=r"w2\.pth"):
        init_from_file(file.replace("w.pth", "w2.pth"), "imagenet-1k", None)


def test_a_file_of_another_network_is_told_what_it_looks_like(file: str, tmp_path: Path) -> None:
    init = init_from_file(file, f"{tmp_path}/three.txt", None)
    with pytest.raises(UsageError, match=r"114 in the model only\. It looks like no network we know"):
        start(init, CBAM, WNIDS)
    gated = ResNetSpec(block="basic", depths=(2, 2, 2, 2), attention="cbam")
    torch.save(build(gated, 3, 16, seed=1).state_dict(), file)
    init = init_from_file(file, f"{tmp_path}/three.txt", None)
    with pytest.raises(
        UsageError,
        match=r"202 are in the checkpoint only, 63 in the model only\. It looks like resnet18_cbam \(change",
    ):
        start(init, SWIN, WNIDS)


def test_counts_that_old_files_lack_are_no_difference(file: str, tmp_path: Path) -> None:
    """PyTorch before 0.4.1 kept no num_batches_tracked: the CBAM authors' files are of 2018."""
    state = build(CBAM, 3, 16, seed=1).state_dict()
    torch.save({name: tensor for name, tensor in state.items() if "tracked" not in name}, file)
    found, _ = start(init_from_file(file, f"{tmp_path}/three.txt", None), CBAM, WNIDS)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_a_file_of_another_network_with_the_same_tensors(file: str, tmp_path: Path) -> None:
    """Refused by what is written there only; noted where the names are ours too."""
    first = ResNetSpec(depths=(1, 1), stem_width=16, stride_in_1x1=True)
    torch.save(build(first, 3, 16, seed=1).state_dict(), file)
    lines = start(init_from_file(file, f"{tmp_path}/three.txt", None), first, WNIDS)[1]
    assert lines[1].startswith(
        "note, if this file is torchvision's: there the stride is on the 3x3, here it is on"
    )
    torch.save(from_ours(build(CBAM, 3, 16, seed=1).state_dict(), "cbam", CBAM, 16), file)
    init, turned = (
        init_from_file(file, f"{tmp_path}/three.txt", None),
        CBAM.model_copy(update={"attention": "parallel"}),
    )
    with pytest.raises(
        UsageError, match=r"w\.pth has the CBAM authors' names, and there a block weighs .*=max_avg"
    ):
        start(init, turned, WNIDS)


def plan_of(init: str | None, init_classes: str | None) -> RunPlan:
    return make_plan(
        "smoke_swin_1k", None, fleet="local", workers=1, settings=None, init=init, init_classes=init_classes,
        engine="torch",
    )  # fmt: skip


def test_a_plan_says_the_file_and_its_classes(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(file).parent)
    plan = plan_of("w.pth", "three.txt")
    assert plan.init is not None
    assert (plan.init.source, plan.init.class_list) == (file, str(Path(file).parent / "three.txt"))
    text = plan_text(plan)
    assert (
        f"  start from        {file} ({plan.init.digest[:12]})\n  its classes       {plan.init.class_list} ("
        in text
    )
    assert plan_of("w.pth", "imagenet-1k").hash != plan.hash
    with pytest.raises(UsageError, match="--init-classes imagenet-1k goes with --init FILE"):
        plan_of("run", "imagenet-1k")


def test_export_by_hand(
    saved: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from raytrain.cli.export import export as command

    run, out = saved(SWIN), f"{tmp_path}/w.safetensors"
    command(run, out, "timm")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{run}/checkpoints/step-00000003, timm's names"
    assert said[1].startswith(f"  {out}: 63 tensors, ")
    assert said[2] == f"  {tmp_path}/w.classes.txt: the WNIDs of the head's 3 rows"
    with pytest.raises(UsageError, match=r"/w\.safetensors is there already: nothing was written"):
        command(run, out, "timm")
    (tmp_path / "w.safetensors").unlink()
    with pytest.raises(UsageError, match=r"/w\.classes\.txt is there already"):
        command(run, out, "timm")
    command(run, f"{tmp_path}/again.safetensors", "timm", as_json=True)
    assert json.loads(capsys.readouterr().out)["tensors"] == 63


@pytest.mark.parametrize(
    ("layout", "name", "complaint"),
    [
        ("keras", "w.pth", "--layout keras: it is raytrain, torchvision, timm, microsoft, cbam"),
        ("timm", "w.onnx", r"--out .*w\.onnx: the name says the kind of file; it ends with one of \.pt, "),
        ("cbam", "w.pth", "the CBAM authors have no Swin"),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(
    saved: Callable[..., str], tmp_path: Path, layout: str, name: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        export(saved(SWIN), layout, f"{tmp_path}/{name}", ema=False, say=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
