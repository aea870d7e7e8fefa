"""ImageNet's development kit in miniature.

META is what scipy.io.savemat wrote for four synsets with the fields of the real meta.mat: numbers 1 to 3 are the
classes of archives.py, 1001 is "entity", which no image shows. TRUTH has an image of class 2, then 3, 1, 2, 1, 3.
"""

import base64
import gzip
from pathlib import Path

from tests.data_shards.archives import CAT, DOG, EMU, photo, tar

META = base64.b64decode(
    "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFdlZCBOb3YgMjUgMTQ6MDU6NTYgMjAyNgAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABSU0PAAAAMgAAAHic42NgYAgAYjYg5gBiPgYIYIXy"
    "GYGYGUqDxPJLMlKLgDQPEEswIAAjlGaC0gCB7QLbDwAAAGMBAAB4nOVUQUrDQBT9adLWgoYKHiAHcJFEwS4D6qIgLhR0GWIyJIFmAskU"
    "6Q08jksX7jyNt3CmmbGTIaVtZiU++Ez+z7w3/Hk/sQHg4whgRFe6wAAaDHlu0TB4jGnUK1wjUtP3Fpzy+huN+d3j08O173p+OL9hAs/3"
    "zfqL17JKarmQLsq6VcDLIoyzfJFUCK8LrURoYETCDOVpRjiFVFGOw7yIUlSDTYsz2PRjK/0YUjAcS3Xg+wOJb3XwJ9L+Kc+x28A7QOdE"
    "0WF5HJFzh1RL5NAnrjPboTNWdFgeOc319r0PAbbflfgjhS8g+BOJp3tuH/7ZUI8v5l93DnxJx92hY7Z0TEjKdC+e0eIZ8KLRt8B/89uU"
    "zg+gv98Xks5hfltwW3x99vE71uhb4K/5/W7p8b/NDT+Ann57V5fulj66dEaKDssRJjlZ7Tcvqu+JRv/b/m9d/IHCn0q5rKP73enM0Q/p"
    "EEr1"
)
TRUTH = b"2\n3\n1\n2\n1\n3\n"
WNIDS = (DOG, EMU, CAT, DOG, CAT, EMU)
KIT = "ILSVRC2012_devkit_t12"


def val_images() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{n:08d}.JPEG": photo(1000 + n) for n in range(1, 7)}


def write_val(root: Path) -> Path:
    """The validation archive: flat, in no order."""
    (root / "ILSVRC2012_img_val.tar").write_bytes(tar(reversed(val_images().items())))
    return root / "ILSVRC2012_img_val.tar"


def write_kit(root: Path, meta: bytes = META, truth: bytes = TRUTH) -> Path:
    members = [
        (f"{KIT}/readme.txt", b"read me"),
        (f"{KIT}/data/meta.mat", meta),
        (f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt", truth),
    ]
    (root / f"{KIT}.tar.gz").write_bytes(gzip.compress(tar(members)))
    return root / f"{KIT}.tar.gz"


def write_csv(root: Path) -> Path:
    """Kaggle's form: in no order, a box after the class, some images with several."""
    rows = [f"ILSVRC2012_val_{n:08d},{wnid} 85 1 499 272 " for n, wnid in enumerate(WNIDS, 1)]
    rows[2] += f"{CAT} 1 2 3 4 "
    (root / "LOC_val_solution.csv").write_text(
        "\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n"
    )
    return root / "LOC_val_solution.csv"
