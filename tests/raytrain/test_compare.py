"""`plan --compare paper`: what differs comes first, and every field of a recipe is in one of the two lists."""

import json
from collections.abc import Callable

import pytest

from cluster.fleet import presets
from raytrain.compare import compare_json, compare_text, lines
from raytrain.console import main
from raytrain.plan import RunPlan, resolve
from raytrain.recipe import Recipe
from raytrain.recipes import recipe, variants
from raytrain.recipes.assumed import assumed_data
from raytrain.settings import change


def planned(asked: Recipe) -> RunPlan:
    return resolve(asked, presets()["h200x8"], assumed_data(asked.made_for))


def side_by_side(name: str, changes: dict[str, object] | None = None) -> dict[str, RunPlan]:
    found = variants(name)
    return {
        "recipe": planned(change(recipe(name), changes or {})),
        "paper": planned(found["paper"]),
        "repository": planned(found["repository"]),
    }


def test_a_comparison_reads_as_accepted(golden: Callable[[str, str], None]) -> None:
    plans = side_by_side("swin_l_22k_224", {"epochs": 60, "regularization.mixup": 0})
    golden("plans/compare.txt", compare_text(plans) + "\n")


def test_what_differs_by_hand() -> None:
    """Appendix A2.1 against the configuration: weight decay 0.01 for 0.05, linear for cosine; and 60 epochs for 90."""
    told = compare_json(side_by_side("swin_l_22k_224", {"epochs": 60}))
    assert told["differs"] == {
        "steps": {
            "recipe": 207_966,
            "paper": 311_949,
            "repository": 311_949,
        },  # 60 x 14,197,122 / 4096 = 207,965.7
        "epochs": {"recipe": 60, "paper": 90, "repository": 90},
        "optimizer.weight_decay": {"recipe": 0.05, "paper": 0.01, "repository": 0.05},
        "schedule.shape": {"recipe": "cosine", "paper": "linear", "repository": "cosine"},
    }
    assert told["same"]["learning rate"] == pytest.approx(1e-3)
    assert told["same"]["optimizer.clip_norm"] == 5


def test_a_field_that_only_one_has_is_a_difference() -> None:
    """`train_fraction` is written where it is not 1 alone; so are the fields of another network's kind."""
    plans = side_by_side("swin_b_1k_224", {"train_fraction": 0.5})
    (line,) = [line for line in lines(plans) if line.name == "train_fraction"]
    assert line.values == ("0.5", "-", "-")
    assert "train_fraction" in compare_text(plans).split("what is the same")[0]


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["raytrain", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_on_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With --set in the recipe's column alone; a recipe without a paper's twin says that it has none."""
    asked = ("plan", "swin_b_1k_224", "--fleet", "h200x8", "--compare", "paper", "--set", "epochs=100")
    code, out, _ = said(capsys, monkeypatch, *asked, "--json")
    assert code == 0
    assert json.loads(out)["differs"]["epochs"] == {"recipe": 100, "paper": 300, "repository": 300}
    code, out, _ = said(capsys, monkeypatch, *asked)
    assert ["epochs", "100", "*", "300", "*", "300"] in [line.split() for line in out.splitlines()]
    _, out, _ = said(capsys, monkeypatch, "plan", "cbam_resnext50_1k_modern", "--compare", "paper")
    assert out.endswith("\nNo recipe here is by its paper.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smoke_swin_22k", "--compare", "paper"], "nothing was published of 'smoke_swin_22k'"),
        (
            ["swin_b_1k_224", "--compare", "timm"],
            "--compare timm: it is paper, which shows the repository too",
        ),
        (
            ["swin_b_1k_224", "--compare", "paper", "--lr-table"],
            "--lr-table and --compare are two pages: ask for one at a time",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = said(capsys, monkeypatch, "plan", *arguments)
    assert (code, out) == (2, "")
    assert message in err
