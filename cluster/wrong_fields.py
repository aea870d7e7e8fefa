"""What is wrong with a fleet file: every field at once, with its value and what it takes."""

import json
import re
from itertools import groupby

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cluster.places import IN_WORDS, Kuberay, Slurm, Vms


def wrong_fields(error: ValidationError, fleet: type[BaseModel]) -> str:
    """All that a validation found, in the words of the file: one line for one thing, else a line for each."""
    kinds: dict[str, type[BaseModel]] = {"kuberay": Kuberay, "vms": Vms, "slurm": Slurm}
    found = [one for one in error.errors() if one["type"] != "too_short" or not one["input"]]
    lines = [_complaint(one) for one in found if one["type"] != "extra_forbidden"]
    unknown = [one["loc"] for one in found if one["type"] == "extra_forbidden"]
    for place, group in groupby(unknown, key=lambda loc: loc[:-1]):
        there = (kinds[str(place[0])] if place else fleet).model_fields
        lines.append(f"{', '.join(map(_path, group))}: no such field; there are {', '.join(there)}")
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} things are wrong", *lines])


def _complaint(error: ErrorDetails) -> str:
    where, value = _path(error["loc"]), _shown(error["input"])
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "missing":
            return f"{where}: this one is missing"
        case "invalid_key":
            return f"{where}: a field's name should be text"
        case "model_type" | "dict_type":
            return f"{where or 'the file'}: should be fields with their values, not {value}"
        case "string_type":
            return f"{where}: {value} should be text, in quotes where it looks like something else"
        case "tuple_type":
            return f"{where}: {value} should be a list, e.g. [{value}]"
        case "string_pattern_mismatch":
            return f"{where}: {value} should be {IN_WORDS[error['ctx']['pattern']]}"
        case "too_short":
            return f"{where}: should have at least {error['ctx']['min_length']} entry"
    return f"{where}: {value} {re.sub(r'^Input ', '', error['msg'])}"


def _shown(value: object) -> str:
    """As the file has it, or nearly. YAML has lists and fields that JSON has not: dates for names, circles."""
    return str(value) if isinstance(value, list | dict) else json.dumps(value, default=str)


def _path(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place))
