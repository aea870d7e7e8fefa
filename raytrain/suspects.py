"""Suspects: the samples of a step that fails again and again, by their keys."""

import json

import numpy as np

from data_shards.mix import load_data, to_train
from data_shards.mixed import order_of
from data_shards.reader import read_key
from data_shards.store import open_store
from raytrain.job import Job

SUSPECTS = "suspects.jsonl"


def write_suspects(job: Job, step: int) -> str:
    """Write a line for every sample of the step (from 1), in the order of its slots; returns where, in words.

    Two small reads a sample. Raises DataError where the data is damaged or gone.
    """
    recipe = job.plan.recipe
    training = to_train(job.data_url, load_data(job.data_url), recipe.train_split, recipe.train_fraction)
    many = recipe.samples_per_step
    slots = np.arange((step - 1) * many, step * many)
    shards, rows = order_of(training, recipe.seed).locate(slots)
    lines = []
    for slot, shard, row in zip(slots.tolist(), shards.tolist(), rows.tolist(), strict=True):
        number, own = training.place(shard)
        part = training.parts[number]
        key = training.prefix(shard) + read_key(part.url, part.chosen, own, row)
        place = {"slot": slot, "shard": training.shard_name(shard), "row": row, "key": key}
        lines.append(json.dumps({"step": step, **place}) + "\n")
    open_store(job.place).write(SUSPECTS, "".join(lines).encode())
    return f"the keys of its {many} samples are in {job.place}/{SUSPECTS}"
