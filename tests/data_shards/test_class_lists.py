"""The shipped class lists are what they say, and any other list is read or refused by name."""

from pathlib import Path

import pytest

from data_shards.class_lists import KNOWN, called, class_list, digest, of_length
from data_shards.errors import DataError, DataUsageError


def test_the_shipped_lists_are_imagenets() -> None:
    narrow, wide = class_list("imagenet-1k"), class_list("imagenet-22k")
    assert (len(narrow), len(wide)) == (1000, 21841)
    assert narrow == tuple(sorted(set(narrow)))
    assert wide == tuple(sorted(set(wide)))
    assert set(narrow) - set(wide) == {"n04399382"}
    assert (narrow[0], narrow[850], narrow[999]) == ("n01440764", "n04399382", "n15075141")


@pytest.mark.parametrize(
    ("row", "theirs"),  # lines of microsoft/Swin-Transformer data/map22kto1k.txt, from 0
    [
        (0, 359),
        (388, 3690),
        (717, 9204),
        (718, 9212),
        (850, 5564),
        (980, 14442),
        (981, 14965),
        (982, 15732),
        (999, 21817),
    ],
)
def test_microsofts_order_is_the_one_of_its_map(row: int, theirs: int) -> None:
    wanted = class_list("imagenet-1k")[row]
    found = class_list("imagenet-22k-microsoft")[theirs]
    assert found == ("n03013580" if wanted == "n04399382" else wanted)  # the garment


def test_microsofts_order_agrees_with_the_sorted_one_in_its_first_rows_only() -> None:
    theirs, ours = class_list("imagenet-22k-microsoft"), class_list("imagenet-22k")
    assert sorted(theirs) == list(ours)
    assert sum(one == other for one, other in zip(theirs, ours, strict=True)) == 9205
    places = [ours.index(theirs[place]) for place in (9204, 9205, 9206, 15027, 15028)]
    assert places == [9204, 21839, 9205, 21840, 15026]


def test_a_list_is_called_by_its_name_its_order_or_its_length() -> None:
    for name in KNOWN:
        assert called(class_list(name)) == name
    backwards = class_list("imagenet-1k")[::-1]
    assert called(backwards) == "the classes of imagenet-1k in another order, 0 of 1,000 in the same row"
    assert called(("n1", "n2")) == "2 classes"
    assert of_length(21841) == ("imagenet-22k", "imagenet-22k-microsoft")
    assert of_length(19167) == ()
    assert digest(("a", "bc")) != digest(("ab", "c"))


def test_users_lists_are_files_and_shard_sets(tmp_path: Path, packed: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("n02 a bird\nn01\n")
    assert class_list(str(file)) == ("n02", "n01")
    assert class_list(packed)[0].startswith("n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("n01\nn02\nn01\n", r"class list .*mine\.txt: line 3 names n01 again, as line 1"),
        ("n01\n\nn02\n", r"class list .*mine\.txt: line 2 is empty"),
        ("", r"class list .*mine\.txt names 0 classes"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(text)
    with pytest.raises(DataUsageError, match=complaint):
        class_list(str(file))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataUsageError, match=r"no class list 'imagenet-21k': it is imagenet-1k, imagenet-22k, "
    ):
        class_list("imagenet-21k")
    with pytest.raises(DataError, match="no shard set at"):
        class_list(str(tmp_path))
