"""What writes pictures' bytes: programs of which another version may write other bytes from the same source.

A set is the same whatever the workers and interruptions, as long as these are the same. So the manifest names them
where they had a hand in it, and no set is made by two versions of one.
"""

import re
import subprocess
from collections.abc import Mapping

import PIL
from PIL import features

from data_shards.errors import DataError
from data_shards.restart import MISSING, PROGRAM

PILLOW = "Pillow"

Tools = dict[str, str]
"""Versions, by name."""


def here(*, restart_markers: bool) -> Tools:
    """The versions of this machine. DataError where restart markers are asked for and there is no jpegtran."""
    pillow = {PILLOW: f"{PIL.__version__} (libjpeg-turbo {features.version('libjpeg_turbo')})"}
    return {**pillow, PROGRAM: _jpegtran()} if restart_markers else pillow


def _jpegtran() -> str:
    """As it says itself: "libjpeg-turbo 2.1.5"; all libraries that have a jpegtran say their name so."""
    try:
        done = subprocess.run(
            [PROGRAM, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise DataError(f"{MISSING}: install it, or pack with --no-restart-markers") from None
    told = re.search(r"(\S+) version (\S+)", done.stderr.decode("utf-8", "replace"))
    return " ".join(told.groups()) if told else "of no known version"


def differing(some: Mapping[str, str], other: Mapping[str, str]) -> str:
    """What is in both and not of one version, for a message; "" where nothing is."""
    names = [name for name in some if name in other and some[name] != other[name]]
    return ", ".join(f"{name} {some[name]} and not {other[name]}" for name in names)
