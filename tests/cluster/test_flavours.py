"""Every flavour keeps one protocol: the same text for the same job, and what it prints is what it runs.

The command line tools of the clusters are stand-ins on PATH that write down their words and their standard input, and
answer as the real ones do.
"""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from flavour_jobs import GPUS, TRAIN, job
from typer.testing import CliRunner

from cluster.cli import app
from cluster.errors import ClusterError, ClusterUsageError
from cluster.flavours import NAMES, flavour
from cluster.flavours.address import submission_of
from cluster.flavours.base import write_private
from cluster.jobs import JobState
from cluster.records import Record, find, send

TOOL = """\
#!{python} -IS
import json, os, sys
with open({log!r}, "a") as file:
    stdin = "" if sys.stdin.isatty() else sys.stdin.read()
    file.write(json.dumps([[{name!r}, *sys.argv[1:]], stdin]) + "\\n")
words = " ".join(sys.argv)
state = open({state!r}).read()
if {name!r} == "kubectl" and " get " in words:
    print(json.dumps({{"status": {{"jobStatus": state, "jobDeploymentStatus": "Running"}}}}))
if {name!r} == "kubectl" and " logs " in words:
    print("step 1")
if {name!r} == "ray" and "cluster status" in words:
    entry = dict(id="swin-b", status=state, message="", entrypoint="", started=None, ended=None, exit_code=None)
    print("Shared connection closed"); print(json.dumps(entry))
if {name!r} == "ray" and "cluster logs" in words:
    print("step 1", flush=True)
    sys.exit(state == "FAILED" and "--follow" in words)
if {name!r} == "sbatch":
    print("77;cluster")
    open("slurm-77.log", "w").write("step 1\\n")
if {name!r} == "squeue":
    words = {{"SUCCEEDED": "COMPLETED", "STOPPED": "CANCELLED"}}
    word = words.get(state, state)
    if word in ("COMPLETED", "FAILED"):
        open("exit_code", "w").write("0" if word == "COMPLETED" else "1")
    if word == "CANCELLED":
        open("stopped", "w").close()
    print(word)
"""


class Tools:
    """The stand-ins' folder, what they heard, and the state that they tell."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.state = folder / "bin", folder / "heard.jsonl", folder / "state"
        self.folder.mkdir()
        self.log.touch()
        self.tell("RUNNING")
        for name in ("kubectl", "ray", "sbatch", "squeue", "scancel"):
            text = TOOL.format(python=sys.executable, log=str(self.log), state=str(self.state), name=name)
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def tell(self, state: str) -> None:
        self.state.write_text(state)

    def heard(self) -> list[tuple[list[str], str]]:
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch) -> Tools:
    made = Tools(tmp_path)
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    return made


class Client:
    """A stand-in for the Jobs API of a running cluster."""

    def __init__(self, address: str, tools: Tools) -> None:
        self.address, self.tools = address, tools

    def submit(self, submission) -> None:
        with self.tools.log.open("a") as file:
            file.write(json.dumps([submission.argv, ""]) + "\n")

    def state(self, name: str) -> JobState:
        nothing = dict.fromkeys(("started", "ended", "exit_code"))
        return JobState(id=name, status=self.tools.state.read_text(), message="", entrypoint="", **nothing)

    def logs(self, _name: str) -> str:
        return "step 1\n"

    def follow(self, _name: str, write) -> None:
        write("step 1\n")

    def stop(self, _name: str) -> bool:
        return True


@pytest.fixture(params=[name for name in NAMES if name != "local"])
def sent(request, tools, tmp_path, monkeypatch):
    """A flavour, its job, and the folder that it was submitted from."""
    monkeypatch.setattr("cluster.flavours.address.Jobs", lambda address: Client(address, tools))
    there, asked, folder = flavour(request.param), job(request.param), tmp_path / "jobs" / "swin-b"
    there.submit(asked, folder)
    return there, asked, folder


@pytest.mark.parametrize("name", NAMES)
def test_rendering_is_pure(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = flavour(name).render(job(name))
    assert first == flavour(name).render(job(name))
    assert first.commands
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_job_survives_json_and_renders_the_same(name):
    record = Record(flavour=name, job=job(name))
    again = Record.model_validate_json(record.model_dump_json())
    assert flavour(name).render(again.job) == flavour(name).render(job(name))


def test_what_is_printed_is_what_runs(sent, tools):
    there, asked, folder = sent
    rendered = there.render(asked)
    expected = [(list(c.argv), rendered.files[c.stdin] if c.stdin else "") for c in rendered.commands]
    assert tools.heard() == expected
    assert [shlex.split(c.line.partition(" < ")[0]) for c in rendered.commands] == [
        list(c.argv) for c in rendered.commands
    ]
    assert {name: (folder / name).read_text() for name in rendered.files} == rendered.files


def test_files_are_readable_by_their_user_only(sent):
    _, _, folder = sent
    made = [folder, *folder.rglob("*")] if folder.exists() else []
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o077
        for path in made
        if path.name not in ("slurm-77.log", "exit_code", "stopped")
    }
    assert modes == dict.fromkeys(modes, 0)


def test_the_token_is_in_its_file_and_nowhere_else(tools, tmp_path):
    there, asked, folder = flavour("vms"), job("vms"), tmp_path / "job"
    there.submit(asked, folder)
    token = (folder / "token" / "auth_token").read_text()
    assert len(token) == 64
    there.status(asked, folder)
    there.stop(asked, folder)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and token in path.read_text()]
    assert written == [folder / "token" / "auth_token"], "what the tools heard is among these files"
    there.submit(asked, folder)
    assert (folder / "token" / "auth_token").read_text() == token, "its machines have this one"


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"])
def test_states_are_told_in_the_same_words(sent, tools, state):
    there, asked, folder = sent
    tools.tell(state)
    told = there.status(asked, folder)
    assert (told.id, told.status) == ("swin-b", state)


@pytest.mark.parametrize(("follow", "state"), [(False, "RUNNING"), (True, "SUCCEEDED"), (True, "FAILED")])
def test_logs_are_the_jobs(sent, tools, follow, state):
    there, asked, folder = sent
    tools.tell(state)
    written: list[str] = []
    there.logs(asked, folder, follow=follow, write=written.append)
    assert "".join(written) == "step 1\n"


def test_stopping_says_what_was_done(sent, tools):
    there, asked, folder = sent
    assert there.stop(asked, folder).startswith("swin-b: ")
    verbs = [" ".join(argv) for argv, _ in tools.heard()]
    if folder.exists():
        assert any(
            verb in words for words in verbs for verb in ("delete rayjob swin-b", "down --yes", "scancel")
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bad",
    ["a;b", "$(x)", "a b", "../up", "-a", "", "A", "a\n", "x" * 65, "`x`", "a/b", "a'b", 'a"b', "a&b", "a|b"],
)
def test_a_name_that_is_more_than_a_name_is_refused(name, bad):
    with pytest.raises(ClusterUsageError, match=r"--name .*: 1 to (47|64) of"):
        flavour(name).render(job(name, name=bad))


def lines_for_a_shell(name: str) -> list[str]:
    """What a shell at the other end will read, of each flavour."""
    rendered = flavour(name).render(job(name))
    if name == "kuberay":
        return [list(yaml.safe_load_all(rendered.files["rayjob.yaml"]))[1]["spec"]["entrypoint"]]
    if name == "vms":
        return [rendered.commands[1].argv[-1]]
    if name == "address":
        return [submission_of(job(name)).entrypoint]
    return [
        line.removesuffix(" &")
        for text in rendered.files.values()
        for line in text.splitlines()
        if "swin_b" in line
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_word_arrives_as_it_was_typed(name):
    lines = lines_for_a_shell(name)
    assert [shlex.split(line)[-len(TRAIN) :] for line in lines] == [list(TRAIN)]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("local", "address")])
def test_a_missing_tool_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"there is no `(kubectl|ray|sbatch)` on this machine"):
        flavour(name).submit(job(name), tmp_path / "job")


def test_a_tool_that_fails_is_quoted(tools, tmp_path):
    (tools.folder / "kubectl").write_text(
        "#!/bin/sh\necho one >&2\necho 'rayjobs \"swin-b\" already exists' >&2\nexit 1\n"
    )
    with pytest.raises(
        ClusterError, match=r"`kubectl create -f - < rayjob.yaml` failed with exit code 1.*already exists"
    ):
        flavour("kuberay").submit(job("kuberay"), tmp_path / "job")


def test_an_unknown_flavour_lists_them():
    with pytest.raises(
        ClusterUsageError, match="unknown flavour 'k8s': it is one of local, address, kuberay, vms, slurm"
    ):
        flavour("k8s")


def test_a_job_runs_here_to_its_end(tmp_path):
    there, asked = flavour("local"), job("local", arguments=("recipes",))
    there.submit(asked, tmp_path / "job")
    written: list[str] = []
    there.logs(asked, tmp_path / "job", follow=True, write=written.append)
    told = there.status(asked, tmp_path / "job")
    assert (told.status, told.exit_code) == ("SUCCEEDED", 0)
    assert "swin_b_22k_224" in "".join(written)
    assert there.stop(asked, tmp_path / "job") == "swin-b: had ended already"


def test_what_is_typed_in_the_jobs_folder_runs_where_it_was_submitted(tmp_path):
    """As `submit` prints it: paths in the command are of the folder that the job was submitted in."""
    here = tmp_path / "it's here"
    here.mkdir()
    (here / "mine.py").write_text("def one():\n    raise SystemExit('found')\n")
    asked = job("local", arguments=("plan", "mine.py:one"), working_dir=str(here))
    rendered = flavour("local").render(asked)
    write_private(tmp_path / "job", rendered.files)
    [command] = rendered.commands
    done = subprocess.run(command.argv, cwd=tmp_path / "job", capture_output=True, text=True)
    assert done.stderr == "found\n"
    assert (tmp_path / "job" / "exit_code").read_text() == "1\n"


def test_a_job_that_fails_here_says_so(tmp_path):
    there, asked = flavour("local"), job("local", arguments=("train", "nope", "--data", "/d", "--out", "/o"))
    there.submit(asked, tmp_path / "job")
    there.logs(asked, tmp_path / "job", follow=True, write=lambda _: None)
    told = there.status(asked, tmp_path / "job")
    assert (told.status, told.exit_code) == ("FAILED", 2)
    assert "unknown recipe 'nope'" in (tmp_path / "job" / "log").read_text()


def test_stopping_here_hands_sigterm_to_the_run(tmp_path):
    there, asked = flavour("local"), job("local")
    script = there.render(asked).files["run.sh"]
    program = "import signal, sys, time\nsignal.signal(15, lambda *_: (time.sleep(0.3), sys.exit(75)))\n"
    program += "print('up', flush=True)\ntime.sleep(60)\n"
    line = next(line for line in script.splitlines() if line.endswith(" &"))
    fake = script.replace(line, shlex.join([sys.executable, "-c", program]) + " &")
    (tmp_path / "run.sh").write_text(fake)
    process = subprocess.Popen(["/bin/sh", tmp_path / "run.sh"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    process.wait(20)
    process.stdout.close()
    assert (tmp_path / "exit_code").read_text() == "75\n"


def test_what_was_sent_is_remembered(tools, tmp_path):
    root, record = tmp_path / "jobs", Record(flavour="slurm", job=job("slurm"))
    folder = send(root, record)
    assert find(root, "swin-b") == (record, folder)
    with pytest.raises(ClusterUsageError, match="a job of that name has not ended"):
        send(root, record)
    tools.tell("FAILED")
    assert send(root, record) == folder


def test_what_is_refused_leaves_no_trace(tmp_path):
    lacking = GPUS.model_copy(update={"image": None})
    with pytest.raises(ClusterUsageError, match="fleet 'rented' has no `image`"):
        send(tmp_path / "jobs", Record(flavour="kuberay", job=job("kuberay", fleet=lacking)))
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("local", {"nodes": 2}, "has 2 nodes and this is one machine"),
        ("kuberay", {"host_memory_gib": None}, "has no `host_memory_gib`"),
        ("kuberay", {"kuberay": None}, "name the ReadWriteMany claim"),
        ("vms", {"vms": None}, "has no `vms`: it needs region, instance_type and security_groups"),
        ("vms", {"vms": GPUS.vms.model_copy(update={"nfs": None})}, "name what is mounted there"),
        ("slurm", {"slurm": None}, "has no `slurm`"),
    ],
)
def test_a_fleet_that_lacks_what_a_flavour_needs(name, changes, said):
    with pytest.raises(ClusterUsageError, match=said):
        flavour(name).render(job(name, fleet=GPUS.model_copy(update=changes)))


def test_slurm_forgets_and_the_folder_does_not(tools, tmp_path):
    there, asked, folder = flavour("slurm"), job("slurm"), tmp_path / "job"
    there.submit(asked, folder)
    (tools.folder / "squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n"
    )
    assert there.status(asked, folder).status == "FAILED", "no exit code: killed"
    for code, status in (("0\n", "SUCCEEDED"), ("1\n", "FAILED"), ("75\n", "STOPPED")):
        (folder / "exit_code").write_text(code)
        told = there.status(asked, folder)
        assert (told.status, told.exit_code) == (status, int(code))


def test_jobs_elsewhere_are_listed_where_no_ray_is(tools, tmp_path, monkeypatch):
    send(tmp_path / "jobs", Record(flavour="slurm", job=job("slurm")))
    monkeypatch.setattr("cluster.cli.LOCAL", "http://127.0.0.1:1")
    asked = ["status", "--json", "--jobs", str(tmp_path / "jobs"), "--address"]
    listed = CliRunner().invoke(app, [*asked, "http://127.0.0.1:1"], catch_exceptions=False)
    assert [state["id"] for state in json.loads(listed.stdout)] == ["swin-b"]
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at http://127\.0\.0\.1:2"):
        CliRunner().invoke(app, [*asked, "http://127.0.0.1:2"], catch_exceptions=False)
