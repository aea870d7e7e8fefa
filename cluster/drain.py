"""The notifier of a spot machine: asks AWS for a notice every few seconds, and drains this node in Ray when one comes.

AWS gives two minutes; nothing in Ray reads them. Started beside `ray start` on every spot worker (flavour `vms`).
The notice: http://169.254.169.254/latest/meta-data/spot/instance-action answers 404 until there is one (AWS, EC2 User
Guide, "Spot Instance interruption notices"); a token has to be fetched first (IMDSv2).
"""

import argparse
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable

METADATA = "http://169.254.169.254"
EVERY_SECONDS = 5.0
DEADLINE_SECONDS = 110
"""AWS's 120 less the time to notice."""


def noticed(metadata: str = METADATA) -> str | None:
    """The notice's text, or None while there is none. Raises OSError where no metadata service answers."""
    wants = urllib.request.Request(  # noqa: S310
        f"{metadata}/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    with urllib.request.urlopen(wants, timeout=2) as answer:  # noqa: S310
        token = answer.read().decode()
    asks = urllib.request.Request(  # noqa: S310
        f"{metadata}/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token}
    )
    try:
        with urllib.request.urlopen(asks, timeout=2) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def drain(address: str, notice: str) -> None:
    """Tell Ray that this node will be gone; the run then writes a checkpoint. Raises CalledProcessError."""
    command = ["ray", "drain-node", "--address", address, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", notice, "--deadline-remaining-seconds", str(DEADLINE_SECONDS)]
    # without --node-id it is the node of RAY_ADDRESS's cluster at this machine's address: there is one Ray a machine
    subprocess.run(command, env={**os.environ, "RAY_ADDRESS": address}, check=True)


def watch(
    address: str,
    metadata: str = METADATA,
    wait: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = print,
) -> None:
    """Ask until a notice comes, drain, and end. A metadata service that is away for a moment is asked again."""
    while True:
        try:
            notice = noticed(metadata)
        except OSError as error:
            say(f"no answer from {metadata}: {error}")
            notice = None
        if notice is not None:
            say(f"notice: {notice}")
            drain(address, notice)
            return
        wait(EVERY_SECONDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="The head, HOST:6379.")
    watch(parser.parse_args().address)
