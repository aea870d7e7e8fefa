"""The demo's own parts; that it runs from end to end is seen by running it."""

from pathlib import Path

import pytest

from raytrain.demo import FINETUNE, PRETRAIN, SCRATCH, own_images, own_name, plan_of
from raytrain.errors import UsageError


def folders(root: Path, names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "1.jpg").write_bytes(b"x")
    return root


def test_a_users_classes_are_split_over_two_label_spaces(tmp_path: Path) -> None:
    wide, narrow = own_images(folders(tmp_path / "mine", "abcdefgh"), tmp_path / "out")
    assert sorted(link.name for link in wide.iterdir()) == list("abcefg")
    assert sorted(link.name for link in narrow.iterdir()) == list("bdfh")
    assert (wide / "a" / "1.jpg").read_bytes() == b"x"
    again = own_images(tmp_path / "mine", tmp_path / "out")
    assert again == (wide, narrow)


def test_two_sources_never_share_a_folder(tmp_path: Path) -> None:
    assert own_name(tmp_path / "a" / "set") != own_name(tmp_path / "b" / "set")
    assert own_name(tmp_path / "a" / "set").startswith("set-")


def test_too_few_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 3 classes; the demo needs at least 4"):
        own_images(folders(tmp_path / "mine", "abc"), tmp_path / "out")


def test_fine_tuning_and_scratch_have_the_same_budget(small_set: str) -> None:
    pretrain, finetune, scratch = (
        plan_of(name, small_set, ["seed=3"]) for name in (PRETRAIN, FINETUNE, SCRATCH)
    )
    assert finetune.lengths == scratch.lengths
    assert (pretrain.recipe.view.image_size, finetune.recipe.view.image_size) == (32, 48)
    assert [plan.recipe.seed for plan in (pretrain, finetune, scratch)] == [3, 3, 3]
