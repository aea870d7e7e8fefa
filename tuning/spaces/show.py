"""Spaces in words: the list of ready ones, and one with its roles, ranges, sources and caveats."""

import json
import textwrap
from collections.abc import Iterator

from raytrain.recipes import recipe
from tuning.dimension import Choice, Dimension, Range
from tuning.space import Space
from tuning.spaces import names, space, summary

SHOWN_FOR = {
    # by how a space's name begins or ends: the recipe that the list shows it for, all of 1K
    "smoke": {"swin": "smoke_swin_1k", "cbam": "smoke_resnext_cbam_1k"},
    "": {"swin": "swin_b_1k_224", "cbam": "cbam_resnext50_1k_2018"},
}
WIDTH = 110


def list_spaces() -> str:
    """Every ready space, each for a recipe that it is made for. Offsets from priors are those of ImageNet-1K."""
    return "\n\n".join("\n".join(_lines(name)) for name in names())


def _lines(name: str) -> Iterator[str]:
    chosen = SHOWN_FOR["smoke" if name.endswith("smoke") else ""][name.partition("_")[0]]
    yield f"{name}: {summary(name)}"
    yield f"  for example of {chosen} on 1K:"
    yield from show(space(name, recipe(chosen), "1k"))
    yield "  fixed       all else, as the recipe has it; a sweep prints it"


def show(of: Space) -> list[str]:
    """A line or two for each parameter that is searched."""
    lines: list[str] = []
    for param in of.params:
        when = "".join(
            f", only where {key} is {' or '.join(map(str, values))}" for key, values in param.when.items()
        )
        lines += _wrapped(f"{param.role:<10}  {param.name}: {_form(param.dimension)}{when}")
        if param.source:
            lines += _wrapped(f"            {param.source}")
    return lines


def show_fixed(of: Space) -> list[str]:
    """What stays as the recipe has it, and so what the search cannot tell."""
    roles = "scientific: what is asked about; nuisance: tuned beside it, so that it is seen at its best"
    lines = [
        f"  ({roles})",
        *_wrapped(f"fixed       (nothing is learned of these) {'; '.join(_caveats(of))}"),
    ]
    if not of.own_point:
        lines += _wrapped(
            "            the recipe itself lies outside of the space: it is tried first all the same"
        )
    return lines


def _caveats(of: Space) -> list[str]:
    """The fixed hyper-parameters, by the part of the recipe that they belong to."""
    groups: dict[str, list[str]] = {}
    for path, value in of.fixed.items():
        group, _, field = path.rpartition(".")
        shown = value if isinstance(value, str) else json.dumps(value)
        groups.setdefault(group or "recipe", []).append(f"{field} {shown}")
    return [f"{group}: {', '.join(fields)}" for group, fields in groups.items()]


def _form(dimension: Dimension) -> str:
    if isinstance(dimension, Range):
        return f"{dimension.low:.3g} to {dimension.high:.3g}{', in the logarithm' if dimension.log else ''}"
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.values))
    return dimension.form


def _wrapped(text: str) -> list[str]:
    indent = " " * 14
    lead = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(), WIDTH, initial_indent=f"  {lead}", subsequent_indent=indent, break_on_hyphens=False
    )
