"""Evaluation on any number of workers: every sample of a split exactly once."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from data_shards.loader import Batch
from raytrain.errors import DivergedError, RunError
from raytrain.evaluation import PREDICTION, Evaluation, summarize
from raytrain.losses import normalize
from raytrain.ranks import Ranks


def evaluate(
    module: nn.Module,
    batches: Iterable[Batch],
    *,
    ranks: Ranks,
    split: str,
    samples: int,
    classes: int,
    bf16: bool,
) -> Evaluation | None:
    """Evaluate over all ranks; the result on rank 0, None elsewhere.

    Raises RunError unless exactly the split's `samples` came back, each once; DivergedError where one is not finite.
    """
    module.eval()
    rows = [_predict(module, batch, ranks.device, bf16) for batch in batches]
    module.train()
    mine = np.concatenate(rows) if rows else np.empty(0, PREDICTION)
    parts = ranks.to_first(mine)
    if not ranks.first:
        return None
    everything = np.concatenate(parts)
    if len(everything) != samples or len(np.unique(everything["index"])) != samples:
        raise RunError(
            f"evaluation saw {len(everything)} predictions of {len(np.unique(everything['index']))} samples, "
            f"but split '{split}' holds {samples}: the shard set's index does not agree with its manifest"
        )
    if not np.isfinite(everything["confidence"]).all():
        raise DivergedError(
            f"the network's outputs on split '{split}' are not finite: it has diverged. "
            "Lower the learning rate with --set optimizer.lr=..."
        )
    return summarize(np.sort(everything, order="index"), split=split, classes=classes)


@torch.no_grad()
def _predict(module: nn.Module, batch: Batch, device: torch.device, bf16: bool) -> NDArray[np.void]:
    images = normalize(batch.images.to(device, non_blocking=True))
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits = module(images).float()
    labels = batch.labels.to(device)
    confidence, predicted = logits.softmax(1).max(1)
    top5 = logits.topk(min(5, logits.shape[1]), dim=1).indices.eq(labels[:, None]).any(1)
    out = np.empty(len(labels), PREDICTION)
    out["index"], out["label"] = batch.slots.numpy(), batch.labels.numpy()
    out["predicted"], out["top5"] = predicted.cpu().numpy(), top5.cpu().numpy()
    out["confidence"] = confidence.cpu().numpy()
    out["loss"] = F.cross_entropy(logits, labels, reduction="none").cpu().numpy()
    return out
