"""Mix files: what is read from them, and each way in which one cannot be, in one message."""

import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from data_shards.cli import app
from data_shards.errors import DataError, DataUsageError
from data_shards.mix import Mix, held_out, load_data, load_mix, to_train
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from data_shards.shared_keys import check_keys
from data_shards.store import open_store
from data_shards.synth import SynthOptions, synth
from data_shards.verify import verify


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide (4 classes, 24 images), narrow (4 classes, 2 of them wide's, of 12 other images), again (wide's images)."""
    root = tmp_path_factory.mktemp("sets")
    for name, space, images in (("wide", "22k", 6), ("narrow", "1k", 3)):
        options = SynthOptions(classes=4, images=images, val_images=2, size=32, space=space)
        synth(root / "drawn" / name, options, 1, lambda *_: None)
    for picture in (root / "drawn" / "narrow").glob("*/*/*.*"):
        picture.rename(picture.with_name(f"my-{picture.name}"))
    for name, source in (("wide", "wide"), ("narrow", "narrow"), ("again", "wide")):
        options = PackOptions(name=name, samples_per_shard=7)
        pack(root / "drawn" / source, str(root / "packed" / name), options, 1, 0.0, lambda *_: None)
        verify(str(root / "packed" / name), 1, lambda *_: None)
    return root


@pytest.fixture
def mixed(sets: Path) -> Callable[[str], str]:
    """A function that writes a mix file beside the sets' folder and returns its URL."""

    def write(text: str, name: str = "mix.yaml") -> str:
        (sets / name).write_text(text)
        return str(sets / name)

    return write


TWO = "sets:\n  - {url: packed/wide, weight: 3}\n  - {url: ./packed/../packed/narrow, weight: 1}\n"


def test_a_mix_is_its_sets_with_one_class_list(sets: Path, mixed: Callable[[str], str]) -> None:
    mix = load_data(mixed(TWO))
    assert isinstance(mix, Mix)
    wide, narrow = (load_shardset(str(sets / "packed" / name)) for name in ("wide", "narrow"))
    assert [part.url for part in mix.training.parts] == [f"{sets}/packed/wide", f"{sets}/packed/narrow"]
    assert [part.weight for part in mix.training.parts] == [Fraction(3), Fraction(1)]
    assert mix.classes[:4] == wide.classes
    assert set(mix.classes) == {*wide.classes, *narrow.classes}
    assert len(mix.classes) == 6
    assert sum(mix.training.class_counts) == mix.training.samples == 36
    assert (mix.turns, mix.epoch) == ((3, 1), 32), (
        "an epoch draws the 24 of the first once, and 8 of the other"
    )
    assert held_out("", mix) == (f"{sets}/packed/wide", wide)
    assert to_train("", mix, "train").shard_name(4).startswith("narrow/")


def test_its_fingerprint_is_what_decides_the_order(mixed: Callable[[str], str]) -> None:
    of = lambda text: load_mix(mixed(text)).fingerprint  # noqa: E731
    assert of(TWO) == of(TWO.replace("weight: 3", "weight: 1.5").replace("weight: 1}", "weight: 0.5}"))
    assert of(TWO) == of(TWO.replace("weight: 1}", "weight: 1, name: mine}"))
    assert of(TWO) != of(TWO.replace("weight: 3", "weight: 2"))
    assert of(TWO) != of(TWO.replace("weight: 1}", "weight: 1, split: val}"))


def test_a_mix_in_s3_may_have_sets_beside_it(sets: Path, s3_url: str, mixed: Callable[[str], str]) -> None:
    open_store(s3_url).write(
        "mixes/mix.yaml", b"sets: [{url: ../wide, weight: 3}, {url: ../narrow, weight: 1}]"
    )
    for name in ("wide", "narrow"):
        open_store(f"{s3_url}/{name}").write(
            "shardset.json", (sets / "packed" / name / "shardset.json").read_bytes()
        )
    found = load_mix(f"{s3_url}/mixes/mix.yaml")
    assert [part.url for part in found.training.parts] == [f"{s3_url}/wide", f"{s3_url}/narrow"]
    assert found.fingerprint == load_mix(mixed(TWO)).fingerprint


BAD = {
    "sets: [": r"is no YAML",
    "sets: 2026-13-45": r"mix.yaml is no YAML: month must be in 1..12",
    "sets: !!int ''": r"mix.yaml is no YAML: string index out of range",
    "sets: !!timestamp x": r"mix.yaml is no YAML: ",
    "[" * 5000: r"mix.yaml is no YAML: maximum recursion depth exceeded",
    "": r"mix.yaml: the file: Input should be a valid dictionary",
    "sets: []": r"mix.yaml: sets: .*at least 1 item",
    "sets:\n  - {url: packed/wide}": r"mix.yaml: sets.0.weight: Field required",
    "sets:\n  - {url: packed/wide, weight: 1, wieght: 2}": r"sets.0.wieght: no such field; there are url, weight",
    "set: []": r"mix.yaml: sets: Field required",
    "sets:\n  - {url: packed/wide, weight: 0}": r"sets.0.weight: Input should be greater than 0",
    "sets:\n  - {url: packed/wide, weight: -1}": r"sets.0.weight: Input should be greater than 0",
    "sets:\n  - {url: packed/wide, weight: .nan}": r"sets.0.weight: Input should be",
    "sets:\n  - {url: packed/wide, weight: '3'}": r"sets.0.weight: Input should be a valid number",
    "sets:\n  - {url: 'pipe:curl x', weight: 1}": r"sets.0.url: 'pipe:curl x': a set is a local folder, file:// or s3://",
    "sets:\n  - {url: 'http://x/y', weight: 1}": r"sets.0.url: 'http://x/y': a set is a local folder",
    "sets:\n  - {url: other.yaml, weight: 1}": r"sets.0.url: 'other.yaml' is a mix: name its sets here",
    "sets:\n  - {url: packed/wide, weight: 1, name: a/b}": r"sets.0.name: String should match pattern",
    TWO + "shared_keys: maybe": r"shared_keys: Input should be 'refused' or 'allowed'",
    TWO + "  - {url: packed/wide, weight: 1, name: w}": r"sets.2 .*the same set as .*packed/wide. Name it once",
    TWO + "  - {url: packed/wide, split: val, weight: 1}": r"2 sets are called 'wide'. Write `name:` for one of them",
    TWO.replace("weight: 3", "weight: 0.33333"): r"repeat after 133,333 turns; the limit is 10,000. Round them",
    "sets:\n  - {url: packed/gone, weight: 1}": r"no shard set at .*packed/gone: shardset.json is missing",
    "sets:\n  - {url: packed/wide, weight: 1, split: none}": r"has no split 'none'",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_is_no_mix_is_one_message(text: str, mixed: Callable[[str], str]) -> None:
    with pytest.raises(DataError, match=BAD[text]):
        load_mix(mixed(text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no mix file at {tmp_path}/mix.yml"):
        load_data(f"{tmp_path}/mix.yml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ()}, "its class list is empty: nothing can be learnt from it"),
        ({"name": "my set"}, "its name 'my set' cannot stand before keys"),
    ],
)
def test_sets_that_cannot_be_mixed(
    changes: dict[str, object], said: str, sets: Path, mixed: Callable[[str], str]
) -> None:
    odd = load_shardset(str(sets / "packed" / "narrow")).model_copy(update=changes)
    (sets / "odd").mkdir(exist_ok=True)
    (sets / "odd" / "shardset.json").write_text(odd.model_dump_json())
    with pytest.raises(DataUsageError, match=f"sets.1 .*odd.*{said}"):
        load_mix(mixed("sets:\n  - {url: packed/wide, weight: 1}\n  - {url: odd, weight: 1}"))


def test_a_mix_of_sets_that_no_key_is_known_of_yet_verifies_by_their_indexes(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("wide", "narrow"):
        shutil.copytree(sets / "packed" / name, tmp_path / name, ignore=shutil.ignore_patterns("keys-*"))
    (tmp_path / "mix.yaml").write_text("sets: [{url: wide, weight: 3}, {url: narrow, weight: 1}]")
    lines = said(["verify", f"{tmp_path}/mix.yaml", "--depth", "index"], monkeypatch, capsys).splitlines()
    assert len(lines) == 3
    assert lines[2] == f"{tmp_path}/mix.yaml: whether the sets share keys was not looked at: no tar was read"


def test_a_path_stays_in_the_bucket(s3_url: str) -> None:
    bucket = "/".join(s3_url.split("/")[:3])
    up = "../" * (s3_url.count("/") - 2)
    open_store(s3_url).write("mix.yaml", f"sets: [{{url: {up}my-set, weight: 1}}]".encode())
    with pytest.raises(DataError, match=f"no shard set at {bucket}/my-set:"):
        load_mix(f"{s3_url}/mix.yaml")
    open_store(s3_url).write("mix.yaml", f"sets: [{{url: {up}../my-set, weight: 1}}]".encode())
    with pytest.raises(DataUsageError, match=r"mix.yaml: '[./]+/my-set' is above the bucket"):
        load_mix(f"{s3_url}/mix.yaml")


def test_the_mix_names_its_splits_not_the_recipe(mixed: Callable[[str], str]) -> None:
    with pytest.raises(
        DataUsageError, match=r"mix 'mix' says itself which split .* it has no split 'minival'"
    ):
        to_train("", load_data(mixed(TWO)), "minival")


def test_sets_without_a_common_key_are_fine(mixed: Callable[[str], str]) -> None:
    check_keys("mix.yaml", load_mix(mixed(TWO)), "val")


AGAIN = TWO.replace("narrow", "again")


def test_the_same_key_in_two_sets_is_named_before_training(sets: Path, mixed: Callable[[str], str]) -> None:
    url = mixed(AGAIN)
    with pytest.raises(
        DataUsageError,
        match=rf"{url}: 24 samples of 'wide' have keys that 'again' has too, such as 'n\d+/n\d+_\d+'",
    ):
        check_keys(url, load_mix(url), None)
    check_keys(url, load_mix(mixed(AGAIN + "shared_keys: allowed")), None)


@pytest.mark.parametrize("allowed", ["", "shared_keys: allowed"])
def test_what_is_evaluated_is_not_trained_on(allowed: str, sets: Path, mixed: Callable[[str], str]) -> None:
    url = mixed(AGAIN.replace("weight: 1}", "weight: 1, split: val}") + allowed)
    said = (
        r"mix.yaml: 8 samples of split 'val' of 'again' have keys that the evaluation split 'val' of 'wide' has "
        r"too, such as 'n\d+/n\d+_\d+': .*`shared_keys: allowed` is about training splits only"
    )
    with pytest.raises(DataUsageError, match=said):
        check_keys(url, load_mix(url), "val")
    itself = mixed(
        TWO.split("  - {url: ./")[0] + "  - {url: packed/wide, weight: 1, split: val, name: w}\n" + allowed
    )
    with pytest.raises(DataUsageError, match=r"mix.yaml: split 'val' of 'w' is what evaluation reads"):
        check_keys(itself, load_mix(itself), "val")


def test_keys_that_are_not_known_or_damaged(sets: Path, mixed: Callable[[str], str], tmp_path: Path) -> None:
    (file,) = (sets / "packed" / "again").glob("keys-*.u64")
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match=r"again/keys-[0-9a-f]{16}\.u64 is damaged"):
            check_keys("mix.yaml", load_mix(mixed(AGAIN)), "val")
        file.unlink()
        with pytest.raises(
            DataError, match=r"keys of .*again are not known yet.*`raytrain data verify .*again` reads"
        ):
            check_keys("mix.yaml", load_mix(mixed(AGAIN)), "val")
        verify(str(sets / "packed" / "again"), 1, lambda *_: None, "index")
        assert not file.exists(), "no tar was read, so no key was seen"
    finally:
        verify(str(sets / "packed" / "again"), 1, lambda *_: None)
    assert file.read_bytes() == whole


def said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["data", *arguments])
    app(standalone_mode=False)
    return capsys.readouterr().out


def test_show_and_verify_take_a_mix(
    sets: Path,
    mixed: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = mixed(TWO)
    shown = json.loads(said(["show", url, "--json"], monkeypatch, capsys))
    facts = [(one["name"], one["samples"], one["turns"]) for one in shown["sets"]]
    assert facts == [("wide", 24, 3), ("narrow", 12, 1)]
    assert (shown["epoch"], len(shown["classes"])) == (32, 6)
    text = " ".join(said(["show", url], monkeypatch, capsys).split())
    assert "wide train 24 4 4 75.0% 1" in text
    assert "narrow train 12 4 2 25.0% 0.667" in text
    assert "an epoch is 32 images: those of wide once. Evaluation reads wide alone" in text
    told = json.loads(said(["verify", url, "--json"], monkeypatch, capsys))
    assert [(one["samples"], one["faults"]) for one in told] == [(32, []), (20, [])]
    lines = said(["verify", url], monkeypatch, capsys).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        str(sets / "packed" / name) for name in ("wide", "narrow")
    ]
    with pytest.raises(DataUsageError, match="24 samples of 'wide' have keys that 'again' has too"):
        said(["verify", mixed(AGAIN)], monkeypatch, capsys)
    with pytest.raises(DataUsageError, match="--sheet draws the pictures of one set"):
        said(["show", url, "--sheet", "x.png"], monkeypatch, capsys)
