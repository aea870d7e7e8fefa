"""What a person has read and accepted of every recipe: its resolved plan, and how each of its parameters is treated.

A plan is written as `path value`; of a group, the first recipe's whole, and of the others the lines that differ.
Networks with the same parameters, treated alike, share a table, and equal blocks in a row share their lines.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from initialisers import initialisers

from cluster.fleet import presets
from raytrain.groups import parameter_groups
from raytrain.optim import shapes_of
from raytrain.plan import RunPlan, resolve
from raytrain.recipes import GROUPS, builders, names, recipe
from raytrain.recipes.assumed import SHAPES, assumed_data
from raytrain.recipes.twins import twin

GOLDEN = Path(__file__).parent.parent / "golden" / "recipes"
Golden = Callable[[str, str], None]
NEEDED = ("parameters", "forward_gmacs", "checkpoint_bytes", "worker_gib")
BLOCK = re.compile(r"(features\.\d+|layer\d+)\.(\d+)\.(.+)")


def resolved(name: str) -> RunPlan:
    """On 8 GPUs of one machine, or a laptop for the tiny ones, with the data that the recipe was made for."""
    found = recipe(name)
    fleet = "local-2" if found.made_for.startswith("synthetic") else "h200x8"
    return resolve(found, presets()[fleet], assumed_data(found.made_for))


def lines(plan: RunPlan) -> dict[str, str]:
    """Every number of a plan by its path, but the rules behind them and what follows from a fleet's speed and wires."""

    def flat(tree: Any, path: str) -> Iterator[tuple[str, str]]:
        if isinstance(tree, dict) and tree:
            for key, value in tree.items():
                yield from flat(value, f"{path}.{key}" if path else key)
        else:
            yield path, f"{tree:.10g}" if isinstance(tree, float) else json.dumps(tree)

    tree = plan.model_dump(mode="json", exclude={"because"})
    tree["estimates"] = {name: tree["estimates"][name] for name in NEEDED}
    return {"hash": plan.hash, **dict(flat(tree, ""))}


@pytest.mark.parametrize("group", GROUPS)
def test_plans_read_as_accepted(group: str, golden: Golden) -> None:
    plans = {name: lines(resolved(name)) for name in builders(group)}
    first = next(iter(plans.values()))
    text = ""
    for name, rows in plans.items():
        shown = (
            rows
            if rows is first
            else {path: value for path, value in rows.items() if first.get(path) != value}
        )
        gone = {} if rows is first else {path: "(none)" for path in first if path not in rows}
        text += f"{name}\n" + "".join(f"  {path} {value}\n" for path, value in {**shown, **gone}.items())
    golden(f"recipes/plans/{group}.txt", text)


def table(name: str) -> str:
    """A line per parameter: its shape, its share of the weight decay and of the learning rate, what fills it."""
    found = recipe(name)
    module, fills = initialisers(found.model, SHAPES[found.made_for][0], found.view.image_size)
    treated = {
        parameter: group
        for group in parameter_groups(shapes_of(module), found.model, found.optimizer)
        for parameter in group.parameters
    }
    rows = [
        (
            parameter,
            f"{'x'.join(map(str, shape)):<14} {treated[parameter].weight_decay / found.optimizer.weight_decay:<5g} "
            f"{treated[parameter].lr_scale:<2g} {fills[parameter].call}",
        )
        for parameter, shape in shapes_of(module).items()
    ]
    heading = f"{'parameter':<38} {'shape':<14} decay lr initialiser\n"
    return heading + "".join(f"{parameter:<38} {facts}\n" for parameter, facts in collapsed(rows))


def collapsed(rows: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Equal blocks in a row as one: `layer3.{1..22}.conv1.weight`."""
    blocks: list[tuple[str, list[int], list[tuple[str, str]]]] = []  # stage, numbers, rows
    for (stage, number), held in groupby(rows, lambda row: _block(row[0])[:2]):
        content = [(_block(parameter)[2], facts) for parameter, facts in held]
        if stage and blocks and blocks[-1][0] == stage and blocks[-1][2] == content:
            blocks[-1][1].append(int(number))
        else:
            blocks.append((stage, [int(number)] if stage else [], content))
    for stage, numbers, content in blocks:
        which = f"{{{numbers[0]}..{numbers[-1]}}}" if len(numbers) > 1 else "".join(map(str, numbers))
        yield from ((f"{stage}.{which}.{rest}" if stage else rest, facts) for rest, facts in content)


def _block(parameter: str) -> tuple[str, str, str]:
    found = BLOCK.fullmatch(parameter)
    return (found[1], found[2], found[3]) if found else ("", "", parameter)


@cache
def tables() -> dict[str, list[str]]:
    """Every different table, and the recipes that have it. Drop path and the stride's place change no parameter."""
    alike: dict[str, list[str]] = {}
    for name in names():
        found = recipe(name)
        network = found.model.model_dump_json(exclude={"drop_path", "stride_in_1x1"})
        treatment = found.optimizer.model_dump_json(include={"decay_all", "layer_decay", "layer_buckets"})
        alike.setdefault(f"{network} {treatment} {found.made_for}", []).append(name)
    return {table(having[0]): having for having in alike.values()}


def test_parameters_read_as_accepted(golden: Golden) -> None:
    for text, having in tables().items():
        golden(f"recipes/parameters/{having[0]}.txt", f"{text}\n" + "".join(f"{name}\n" for name in having))


def test_no_golden_file_is_left_of_a_recipe_that_is_gone() -> None:
    wanted = {f"parameters/{having[0]}.txt" for having in tables().values()}
    wanted |= {f"plans/{group}.txt" for group in GROUPS}
    there = {file.relative_to(GOLDEN).as_posix() for file in GOLDEN.rglob("*.txt")}
    assert there == wanted


@pytest.mark.parametrize("name", ["swin_t_1k_224", "cbam_resnext50_1k_2018", "parallel_resnet50_1k_2018"])
def test_what_was_recorded_last_is_what_a_parameter_holds(name: str) -> None:
    """So the tables miss nothing that fills a parameter in another way."""
    model = twin(recipe(name)).model
    module, fills = initialisers(model, 5, 28, device="cpu")
    for parameter, tensor in module.named_parameters():
        assert torch.equal(tensor, fills[parameter].values), parameter
