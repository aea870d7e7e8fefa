"""A virtual environment for each peer, made when it is first measured: their pins and ours exclude each other.

    .venv-peers/NAME      what benchmarks/peers/NAME.txt pins, before the packages of the interpreter that runs this

So torch and torchvision are ours, installed once, and measured alike; what a peer pins otherwise (MosaicML Streaming
needs numpy < 2.2) it has of its own. Nothing of a peer comes near the product's environment.
"""

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parent / ".venv-peers"
MINUTES = 15
"""FFCV compiles for one or two on a quiet machine."""


class NotInstalledError(Exception):
    """A peer cannot be installed here; the message says why."""


def interpreter(name: str) -> Path:
    """The peer's own Python, with all that it needs. NotInstalledError with pip's last complaint."""
    pins, home = HERE / "peers" / f"{name}.txt", HOME / name
    ours = sysconfig.get_path("purelib")
    recipe = hashlib.sha256(f"{sys.version}\n{ours}\n{pins.read_text()}".encode()).hexdigest()
    ready, python = home / ".ready", home / "bin" / "python"
    if ready.is_file() and ready.read_text() == recipe:
        return python
    venv.create(home, clear=True, with_pip=True)
    site = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "ours.pth").write_text(f"{ours}\n")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", pins]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"pip did not end in {MINUTES} minutes") from None
    if done.returncode:
        raise NotInstalledError(last_line(done.stderr))
    ready.write_text(recipe)
    return python


def last_line(text: str) -> str:
    """The last line that says anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "without a word")


if __name__ == "__main__":  # for whoever wants to run something beside a peer
    print(interpreter(sys.argv[1]))
