"""Jobs on a real Ray head that asks for a token: submitted, followed, stopped, refused."""

import json
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ray_head import free_ports, raytrain
from typer.testing import CliRunner

from cluster.cli import app
from cluster.errors import ClusterUsageError
from cluster.jobs import Jobs, Submission, _reason
from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth
from tests.cluster.canary import leaks


def test_a_submission_is_a_command_that_does_the_same():
    job = Submission(
        id="a.b_c-1", entrypoint="python -m raytrain recipes", working_dir="/w", address="http://h:1"
    )
    assert job.command == (
        "ray job submit --no-wait --address http://h:1 --submission-id a.b_c-1 --working-dir /w -- "
        "python -m raytrain recipes"
    )


def test_what_ray_would_let_a_shell_run_goes_through_its_client():
    """`ray job submit` hands `;` on as it is (list2cmdline), and the head's shell would run what follows."""
    entrypoint = shlex.join(["train", "x", "--set", "name=two;touch $HOME/mark"])
    assert subprocess.list2cmdline(shlex.split(entrypoint)) == 'train x --set "name=two;touch $HOME/mark"'
    job = Submission(id="a", entrypoint=entrypoint, working_dir=None, address="http://h:1")
    python, dash, code = job.argv
    sent = {}

    class Client:
        def __init__(self, address):
            sent["address"] = address

        def submit_job(self, **words):
            sent.update(words)

    exec(code.partition("; ")[2], {"C": Client})
    assert (python, dash) == ("python", "-c")
    assert sent == {
        "address": "http://h:1",
        "entrypoint": entrypoint,
        "submission_id": "a",
        "runtime_env": {},
    }


def test_a_submission_without_a_name_gets_its_own(monkeypatch):
    monkeypatch.setattr("cluster.flavours.address.Jobs", lambda _: SimpleNamespace(submit=lambda _: None))
    asked = [CliRunner().invoke(app, ["submit", "--json", "--", "recipes"]) for _ in range(2)]
    first, second = (json.loads(done.stdout)["id"] for done in asked)
    assert first != second
    assert first.startswith("raytrain-")


def test_a_missing_working_dir_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["submit", "--working-dir", str(tmp_path / "none"), "--", "recipes"])
    assert isinstance(done.exception, ClusterUsageError)
    assert "is no folder" in str(done.exception)


@pytest.mark.parametrize("address", ["http://192.0.2.7:8265", "https://no-such-host.invalid"])
def test_a_cluster_that_others_reach_is_refused_without_a_token(monkeypatch, address):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ClusterUsageError, match=r"^others reach .* too, and RAY_AUTH_MODE is not `token`"):
        Jobs(address)


class Streams:
    """A Jobs client of one job: the states it is in, one after the other, and what each log stream holds."""

    def __init__(self, *states, streams):
        self.left, self.streams = list(states), list(streams)

    def get_job_info(self, job):
        state = SimpleNamespace(value=self.left.pop(0))
        empty = dict.fromkeys(("message", "start_time", "end_time", "driver_exit_code"))
        return SimpleNamespace(submission_id=job, status=state, entrypoint="sh", **empty)

    async def tail_job_logs(self, _job):
        for text in self.streams.pop(0):
            yield text


@pytest.mark.parametrize(
    ("states", "streams"),
    [
        (["FAILED"], [["one\n", "two\n"]]),  # it had ended already
        (["RUNNING", "RUNNING", "SUCCEEDED"], [["on"], ["one\n", "tw"], ["one\ntwo\n"]]),  # cut twice
    ],
)
def test_following_writes_each_character_once(states, streams):
    jobs, written = object.__new__(Jobs), []
    jobs.address, jobs.client = "http://h", Streams(*states, streams=streams)
    state = jobs.follow("j", written.append, wait=lambda _: None)
    assert "".join(written) == "one\ntwo\n"
    assert state.status == states[-1]


@pytest.mark.ray
def test_a_submitted_run_trains_on_that_cluster(head, tmp_path):
    synth(tmp_path / "raw", SynthOptions(classes=2, images=16, val_images=4, size=32), 1, lambda *_: None)
    pack(tmp_path / "raw", str(tmp_path / "set"), PackOptions(name="two"), 1, 0.0, lambda *_: None)
    train = ["train", "smoke_swin_22k", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "run")]
    short = ["--set", "epochs=1", "--set", "global_batch=16"]
    submitted = raytrain("cluster", "submit", "--name", "two.steps", "--", *train, *short, env=head)
    assert submitted.returncode == 0, submitted.stderr
    assert f"--submission-id two.steps -- python -m raytrain {shlex.join(train + short)}" in submitted.stdout

    followed = raytrain("cluster", "logs", "two.steps", "--follow", env=head)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "after 2 steps (1 epoch)" in followed.stdout
    assert followed.stderr == "two.steps  SUCCEEDED  Job finished successfully.\n"
    written = {str(path): path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*.*")}
    assert len(written) > 8
    assert leaks({**written, "plan and progress": followed.stdout}) == []
    state = json.loads(raytrain("cluster", "status", "two.steps", "--json", env=head).stdout)
    assert (state["status"], state["exit_code"]) == ("SUCCEEDED", 0)

    again = raytrain("cluster", "submit", "--name", "two.steps", "--", "recipes", env=head)
    assert again.returncode == 1
    assert "refused: the cluster has had a job of that name: submit with another --name" in again.stderr


@pytest.mark.ray
def test_a_job_that_fails_tells_why(head):
    train = ["train", "smoke_swin_22k", "--data", "/d", "--out", "/o"]
    raytrain("cluster", "submit", "--name", "wrong", "--", *train, env=head)
    followed = raytrain("cluster", "logs", "wrong", "--follow", env=head)
    assert followed.returncode == 1
    assert "no shard set at /d" in followed.stdout
    assert followed.stderr == "wrong  FAILED  Job entrypoint command failed with exit code 1\n"


@pytest.mark.ray
def test_a_running_job_is_stopped(head):
    wait = Submission(
        id="waits", entrypoint="sleep 600", working_dir=None, address=head["RAY_API_SERVER_ADDRESS"]
    )
    code = f"from cluster.jobs import *; Jobs({wait.address!r}).submit(Submission(**{wait.model_dump()!r}))"
    subprocess.run([sys.executable, "-c", code], env=head, check=True)
    stopped = raytrain("cluster", "stop", "waits", "--json", env=head)
    assert json.loads(stopped.stdout) == {"id": "waits", "done": "waits: asked to stop"}
    followed = raytrain("cluster", "logs", "waits", "--follow", env=head)
    assert (followed.returncode, followed.stderr) == (1, "waits  STOPPED  Job was intentionally stopped.\n")


@pytest.mark.ray
@pytest.mark.parametrize(
    "token",
    [
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_TOKEN": "wrong"},
        {"RAY_AUTH_TOKEN_PATH": "", "HOME": "/none"},
    ],
)
def test_without_the_token_one_line_says_what_to_set(head, token):
    refused = raytrain("cluster", "submit", "--", "recipes", env={**head, **token})
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH" in refused.stderr


@pytest.mark.ray
def test_an_unknown_job_is_named(head):
    unknown = raytrain("cluster", "logs", "nobody", env=head)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "knows no job 'nobody'" in unknown.stderr


@pytest.mark.parametrize("words", [["status"], ["submit", "--", "recipes"]])
def test_nothing_answering_is_one_message(words):
    address = ["--address", f"http://127.0.0.1:{free_ports(1)[0]}"]
    tried = raytrain("cluster", words[0], *address, *words[1:], env=dict(os.environ))
    assert tried.returncode == 1
    assert tried.stderr.startswith("error: no Ray cluster answers at http://127.0.0.1:")
    assert len(tried.stderr.splitlines()) == 1


def test_the_help_imports_no_ray():
    code = "import sys; from typer.testing import CliRunner; from raytrain.console import app\n"
    code += "assert CliRunner().invoke(app, ['cluster', '--help']).exit_code == 0; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_head_without_an_agent_says_which_port_to_look_at():
    told = _reason(
        RuntimeError(
            "Request failed with status code 500: No available agent to submit job, please try again later."
        )
    )
    assert told.endswith("`ray start --dashboard-agent-listen-port` takes another")
    assert _reason(RuntimeError("Traceback\n  ...\nValueError: odd.\n")) == "ValueError: odd"
