"""Spaces that users write: a YAML file, or `--space PATH=RANGE`.

scientific:
  model.drop_path: 0:0.3
  capacity:
    rungs:
      small: {model.embed_dim: 48, model.depths: [2, 4]}
      large: {model.embed_dim: 96, model.depths: [2, 6]}
nuisance:
  optimizer.lr: log:1e-4:1e-2
  optimizer.momentum: {range: "0.8:0.99", when: {optimizer.name: [sgd]}}
  optimizer.weight_decay: {prior: 0.05, notch: 3.16, log: true, notches: [-2, 2]}
fixed: [model.*, view.*, optimizer.*, schedule.*, regularization.*, distillation.*, epochs, ...]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.settings import parse
from tuning.dimension import FORMS, Dimension, Ladder, Offset, Range, Scalar, Settings, read_dimension, reason
from tuning.space import Param, Space, declare, hyper_parameters

WEIGHT_DECAY = (1e-4, 0.3)  # from ResNet's (He et al. 2016) to ViT's (Dosovitskiy et al. 2020, table 3)
DROP_PATH = (0.0, 0.3)  # to Swin-S's (Liu et al. 2021, appendix A2.1)


class Entry(Value):
    """A parameter in the file. One of `range`, `rungs` and `prior`; `path` where the name is not the field's."""

    path: str = ""
    range: str | None = None
    rungs: dict[str, Settings] | None = None
    prior: float | dict[str, float] | None = None
    by: str = ""
    notch: float = 0.1
    log: bool = False
    notches: tuple[int, int] = (-1, 1)
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _a_range_alone(cls, given: Any) -> Any:
        return given if isinstance(given, Mapping) else {"range": str(given)}


class SpaceFile(Value):
    """The file."""

    scientific: dict[str, Entry]
    nuisance: dict[str, Entry] = Field(default_factory=dict)
    fixed: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _known_roles(cls, given: Any) -> Any:
        for role in given if isinstance(given, Mapping) else ():
            if role not in cls.model_fields:
                raise ValueError(f"{role} is no role; there are {', '.join(cls.model_fields)}")
        return given


def read_space(file: str, recipe: Recipe) -> Space:
    """The space in a file, for this recipe. Raises UsageError naming the file and what is wrong in it."""
    try:
        tree = yaml.load(Path(file).read_text(), yaml.BaseLoader)  # noqa: S506 -- the one that makes nothing but text
    except FileNotFoundError:
        raise UsageError(f"--space {file}: there is no such file") from None
    except yaml.YAMLError as error:
        raise UsageError(f"--space {file}: this is no YAML: {' '.join(str(error).split())}") from None
    try:
        held = SpaceFile.model_validate(_typed(tree))
        roles: tuple[tuple[Literal["scientific", "nuisance"], Mapping[str, Entry]], ...] = (
            ("scientific", held.scientific),
            ("nuisance", held.nuisance),
        )
        own = hyper_parameters(recipe)
        params = [
            _param(name, entry, role, own) for role, entries in roles for name, entry in entries.items()
        ]
        return declare(Path(file).stem, params, held.fixed, recipe)
    except ValidationError as error:
        raise UsageError(f"--space {file}: {reason(error)}") from None
    except UsageError as error:
        raise UsageError(f"--space {file}: {error}") from None


def parse_space(texts: Sequence[str], recipe: Recipe) -> Space:
    """The space that `PATH=RANGE` options name: those are scientific, all else stays as the recipe has it.

    Raises UsageError for an unknown path, form or bound.
    """
    own = hyper_parameters(recipe)
    params: list[Param] = []
    for text in texts:
        path, equals, form = text.partition("=")
        if not equals:
            raise UsageError(f"--space {text}: write path={FORMS}, e.g. --space optimizer.lr=log:1e-4:1e-2")
        if path in (param.name for param in params):
            raise UsageError(f"--space {text}: {path} has a range already; give each path once")
        try:
            params.append(_param(path, Entry(range=form), "scientific", own))
            declare("of the command line", params[-1:], ("*",), recipe)
        except UsageError as error:
            raise UsageError(f"--space {text}: {error}") from None
    return declare("of the command line", params, ("*",), recipe)


def default_space(recipe: Recipe) -> Space:
    """Weight decay and drop path: what a recipe's regularization is tuned by. Widened to hold the recipe's own."""
    decay, drop = recipe.optimizer.weight_decay, recipe.model.drop_path
    lowest = min(WEIGHT_DECAY[0], decay) if decay > 0 else WEIGHT_DECAY[0]
    ranges = {
        "optimizer.weight_decay": Range(low=lowest, high=max(WEIGHT_DECAY[1], decay), log=True),
        "model.drop_path": Range(low=DROP_PATH[0], high=max(DROP_PATH[1], drop)),
    }
    params = [
        Param(name=path, paths=(path,), role="scientific", dimension=dimension)
        for path, dimension in ranges.items()
    ]
    return declare("default", params, ("*",), recipe)


def _param(
    name: str, entry: Entry, role: Literal["scientific", "nuisance"], own: Mapping[str, object]
) -> Param:
    dimension = _dimension(name, entry, own)
    paths = dimension.paths if isinstance(dimension, Ladder) else (entry.path or name,)
    return Param(name=name, paths=paths, role=role, dimension=dimension, when=entry.when, source=entry.source)


def _dimension(name: str, entry: Entry, own: Mapping[str, object]) -> Dimension:
    given = [field for field in ("range", "rungs", "prior") if getattr(entry, field) is not None]
    if len(given) != 1:
        raise UsageError(
            f"{name} has {' and '.join(given) or 'no values'}: give one of range, rungs and prior"
        )
    if entry.range is not None:
        held = own.get(entry.path or name)
        try:
            return read_dimension(entry.range, integer=isinstance(held, int) and not isinstance(held, bool))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    if entry.rungs is not None:
        return Ladder(rungs=entry.rungs)
    prior = entry.prior if isinstance(entry.prior, dict) else {"": entry.prior or 0.0}
    low, high = entry.notches
    return Offset(prior=prior, by=entry.by, notch=entry.notch, log=entry.log, low=low, high=high)


def _typed(tree: Any) -> Any:
    """Texts as JSON where they are JSON, as `--set` reads them: YAML itself would read 0:0.3 in base 60."""
    if isinstance(tree, dict):
        return {key: _typed(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_typed(value) for value in tree]
    return parse([f"x={tree}"])["x"]
