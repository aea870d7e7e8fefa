"""The pages of docs/clusters/ keep their word: their fleets are fleets, their commands render, their figures hold."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster.flavours import NAMES
from cluster.fleet import load_fleet, presets
from raytrain.cli.plan import app as plan
from raytrain.console import app
from raytrain.errors import UsageError

ENDS = {
    "kuberay": "# kubectl create -f - ",
    "vms": "# ray exec ",
    "slurm": "# sbatch ",
    "local": "# /bin/sh ",
}
DOCS = Path(__file__).parents[2] / "docs" / "clusters"


def blocks(name: str, kind: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / f"{name}.md").read_text(), flags=re.M | re.S)
    return [text for written, text in fenced if written == kind]


def commands(name: str, verb: str) -> list[list[str]]:
    lines = "".join(blocks(name, "")).splitlines()
    return [
        shlex.split(line, comments=True)[2:] for line in lines if line.startswith(f"raytrain cluster {verb} ")
    ]


def test_every_flavour_has_a_page():
    assert {page.stem for page in DOCS.glob("*.md")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_can_be_followed_word_for_word(name, tmp_path, monkeypatch):
    [fleet] = blocks(name, "yaml")
    (tmp_path / "fleet.yaml").write_text(fleet)
    monkeypatch.chdir(tmp_path)
    asked = load_fleet("fleet.yaml")
    assert asked.workers > 1
    sends = commands(name, "submit")
    assert sends
    flavours = {words[words.index("--flavour") + 1] if "--flavour" in words else "address" for words in sends}
    assert flavours == {name}
    for words in sends + commands(name, "render"):
        done = CliRunner().invoke(app, ["cluster", "render", *words[1:]], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        if name != "address":  # what is rendered for that is the command
            assert done.output.splitlines()[-1].startswith(ENDS[name])
        assert "--fleet" not in words or f'"name":"{asked.name}"' in done.output
    for verb in ("logs", "stop"):
        told = {words[1] for words in commands(name, verb)}
        assert told == {sends[0][sends[0].index("--name") + 1]}


def test_the_readme_can_be_followed_word_for_word(tmp_path, monkeypatch):
    text = (DOCS.parents[1] / "README.md").read_text()
    [fleet] = re.findall(r"^```\n(name: mine .*?)^```$", text, flags=re.M | re.S)
    (tmp_path / "fleet.yaml").write_text(fleet)
    monkeypatch.chdir(tmp_path)
    sends = re.findall(r"^raytrain cluster (?:render|submit) (.*)$", text, flags=re.M)
    assert len(sends) == 2
    for words in map(shlex.split, sends):
        done = CliRunner().invoke(app, ["cluster", "render", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert '"name":"mine"' in done.output
    for flavour in ("address", "kuberay", "slurm", "vms"):  # one fleet, one recipe, every kind of cluster
        words[words.index("--flavour") + 1] = flavour
        done = CliRunner().invoke(app, ["cluster", "render", *words], catch_exceptions=False)
        assert (done.exit_code, "swin_b_22k_224" in done.output) == (0, True), done.output


def test_the_claim_on_the_page_is_the_one_that_is_mounted():
    text = (DOCS / "kuberay.md").read_text()
    [claim] = re.findall(r"<<'CLAIM'\n(.*?)^CLAIM", text, flags=re.M | re.S)
    made = yaml.safe_load(claim)
    place = yaml.safe_load(blocks("kuberay", "yaml")[0])["kuberay"]
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == (place["claim"], place["namespace"])
    assert made["spec"]["accessModes"] == ["ReadWriteMany"]


def test_presets_on_the_page_are_all_there_are():
    listed = re.search(r"^Presets: (.*?)$", (DOCS / "local.md").read_text(), flags=re.M)
    assert listed
    assert re.findall(r"`([\w-]+)`", listed[1]) == list(presets())


def test_a_command_on_a_cluster_knows_its_fleet(tmp_path, monkeypatch):
    """What flavours put into RAYTRAIN_FLEET is what `plan` and `train` plan for, unless --fleet says otherwise."""
    [text] = blocks("kuberay", "yaml")
    (tmp_path / "fleet.yaml").write_text(text)
    monkeypatch.setenv("RAYTRAIN_FLEET", load_fleet(str(tmp_path / "fleet.yaml")).inline)
    told, other = (
        CliRunner().invoke(plan, ["swin_b_22k_224", "--json", *more], catch_exceptions=False)
        for more in ([], ["--fleet", "h100x8"])
    )
    assert json.loads(told.stdout)["placement"]["workers"] == 32
    assert json.loads(other.stdout)["placement"]["workers"] == 8


def test_a_fleet_too_small_for_the_plan_is_told_the_nearest_that_fits(monkeypatch):
    monkeypatch.setenv(
        "RAYTRAIN_FLEET", '{"name": "small", "workers_per_node": 4, "gpu": true, "memory_gib": 3}'
    )
    with pytest.raises(UsageError, match=r"fleet 'small' has 3.*\n.*--workers 16 +2\.\d+ GiB"):
        CliRunner().invoke(plan, ["swin_l_22k_224"], catch_exceptions=False)
