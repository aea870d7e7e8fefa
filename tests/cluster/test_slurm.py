"""The Slurm script, run: with stand-ins of srun, scontrol, ray and the run; and by a Slurm of the test's own."""

import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flavour_jobs import GPUS, job
from ray_head import free_ports

from cluster.flavours import flavour
from cluster.fleet import Fleet
from cluster.jobs import ENDED
from cluster.places import Slurm

RUN = """#!/bin/bash
# `python` of the virtual environment: makes the token, or is the run
if [ "$1" = -c ]; then exec {python} "$@"; fi
stat --format=%a "$RAY_AUTH_TOKEN_PATH" > mode
env | grep -E '^(RAY|RAYTRAIN)_' | sort > environment
printf '%s\\n' "$@" > words
trap 'exit 75' TERM
echo up
[ -e waits ] && while :; do sleep 0.05; done
exit {code}
"""


def script(folder: Path, *, code: int = 0) -> tuple[list[str], dict[str, str]]:
    """The rendered script in a folder with stand-ins, as the words and the environment to run it with."""
    venv = folder / "venv"
    (venv / "bin").mkdir(parents=True)
    fleet = GPUS.model_copy(update={"slurm": Slurm(venv=str(venv))})
    (folder / "job.sbatch").write_text(flavour("slurm").render(job("slurm", fleet=fleet)).files["job.sbatch"])
    tools = {name: f'#!/bin/sh\necho {name} "$@" >> {folder}/heard\n' for name in ("srun", "scontrol")}
    tools["python"] = RUN.format(python=sys.executable, code=code)
    for name, text in tools.items():
        (venv / "bin" / name).write_text(text)
        (venv / "bin" / name).chmod(0o755)
    slurm = {"SUBMIT_DIR": str(folder), "JOB_ID": (folder / "number").read_text(), "JOB_NUM_NODES": "2"}
    told = {**{f"SLURM_{name}": value for name, value in slurm.items()}, "SLURMD_NODENAME": "n1"}
    return ["/bin/bash", str(folder / "job.sbatch")], {**os.environ, **told}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder whose head already listens where the script will look for it."""
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    if not found:
        pytest.skip("this machine has no address but its loopback's")
    monkeypatch.chdir(tmp_path)
    for number in range(1, 10_000):
        try:
            head = socket.create_server((found[0], 20_000 + number))
        except OSError:  # another test's
            continue
        with head:
            (tmp_path / "number").write_text(str(number))
            yield tmp_path
        return


def test_the_script_starts_a_ray_on_each_node_and_runs_the_command(folder):
    words, environment = script(folder)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "up\n", "")
    head, others = (folder / "heard").read_text().splitlines()
    assert "--nodes=1 --ntasks=1 --nodelist=n1 ray start --head --block" in head
    assert "--include-dashboard=false --num-cpus=96 --num-gpus=8" in head
    assert "--nodes=1 --ntasks=1 --exclude=n1 ray start --block" in others
    assert (folder / "words").read_text().splitlines() == ["-m", "raytrain", *job("slurm").arguments]
    told = dict(line.split("=", 1) for line in (folder / "environment").read_text().splitlines())
    assert told["RAY_AUTH_MODE"] == "token"
    assert told["RAY_ADDRESS"].endswith(f":{20_000 + int((folder / 'number').read_text())}")
    assert json.loads(told["RAYTRAIN_FLEET"])["workers_per_node"] == 8
    assert (folder / "mode").read_text() == "600\n"
    assert not Path(told["RAY_AUTH_TOKEN_PATH"]).exists(), "it goes with the job"
    assert (folder / "exit_code").read_text() == "0\n"


@pytest.mark.parametrize("stopped", [False, True])
def test_sigterm_makes_a_checkpoint_and_queues_again_unless_a_user_stopped_it(folder, stopped):
    (folder / "waits").touch()
    words, environment = script(folder)
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    if stopped:
        (folder / "stopped").touch()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    process.stdout.close()
    assert ("scontrol requeue" in (folder / "heard").read_text()) is not stopped


def test_a_run_that_fails_is_not_queued_again(folder):
    words, environment = script(folder, code=2)
    assert subprocess.run(words, env=environment, capture_output=True, timeout=60).returncode == 2
    assert "requeue" not in (folder / "heard").read_text()
    assert (folder / "exit_code").read_text() == "2\n"


CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=2000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Iterator[Path]:
    """A Slurm of two nodes on this machine, ended by its processes' ids."""
    wanted = ("munged", "slurmctld", "slurmd", "sbatch")
    missing = [name for name in wanted if not shutil.which(name)]
    if missing or getpass.getuser() != "root":
        pytest.skip(
            f"needs root and {', '.join(missing or wanted)} (Debian: slurmctld slurmd slurm-client munge)"
        )
    control, first, second = free_ports(3)
    for name, mode in (("munge", 0o711), ("state", 0o755), ("spool-n1", 0o755), ("spool-n2", 0o755)):
        (tmp_path / name).mkdir(mode=mode)
    key = tmp_path / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    host = socket.gethostname().split(".")[0]
    ports = {"control": control, "first": first, "second": second}
    (tmp_path / "slurm.conf").write_text(CONFIG.format(folder=tmp_path, host=host, **ports))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{option}={tmp_path}/munge/{name}" for option, name in files.items()]
    commands = [["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"]]
    commands += [["slurmd", "-D", "-N", name] for name in ("n1", "n2")]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(1)
        yield tmp_path
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


@pytest.mark.ray
def test_a_real_slurm_trains_on_two_nodes(slurm, tmp_path):
    from data_shards.pack import PackOptions, pack
    from data_shards.synth import SynthOptions, synth

    synth(tmp_path / "raw", SynthOptions(classes=2, images=16, val_images=4, size=32), 1, lambda *_: None)
    pack(tmp_path / "raw", str(tmp_path / "set"), PackOptions(name="two"), 1, 0.0, lambda *_: None)
    venv = Path(sys.executable).parent.parent
    fleet = Fleet(name="two", nodes=2, slurm=Slurm(venv=str(venv), hours=1))
    train = f"train smoke_swin_22k --data {tmp_path}/set --out {tmp_path}/run --set epochs=1 --set global_batch=16"
    there, asked = flavour("slurm"), job("slurm", fleet=fleet, arguments=tuple(shlex.split(train)))
    folder = tmp_path / "job"
    there.submit(asked, folder)
    written: list[str] = []
    there.logs(asked, folder, follow=True, write=written.append)
    state = there.status(asked, folder)
    assert state.status in ENDED
    assert (state.status, state.exit_code) == ("SUCCEEDED", 0), "".join(written)[-2000:]
    assert "starting 2 workers" in "".join(written)
    assert list(folder.glob("auth_token*")) == []
    private = [
        name for name in ("job.sbatch", "slurm_id") if stat.S_IMODE((folder / name).stat().st_mode) != 0o600
    ]
    assert private == []
