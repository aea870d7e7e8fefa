"""A user's own recipe: FILE.py:FUNCTION, a function without arguments that returns a Recipe."""

import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.settings import needed, tree_of


def is_file(name: str) -> bool:
    """Whether it names a function in a file, or the file alone, which `load` refuses."""
    return ".py:" in name or name.endswith(".py")


def load(name: str) -> Recipe:
    """Run the file and call the function. Raises UsageError with the file and line of what went wrong in it."""
    path, _, function = name.rpartition(":") if ".py:" in name else (name, "", "")
    if not function:
        raise UsageError(f"recipe {name}: which of its functions? Say {path}:FUNCTION")
    if not Path(path).is_file():
        raise UsageError(f"recipe {name}: there is no file {path}")
    try:
        made = _call(path, function)
    except UsageError as error:
        raise UsageError(f"recipe {name}: {_where(error, path)}{error}") from None
    except ValidationError as error:
        raise UsageError(f"recipe {name}: {_where(error, path)}{error.title}: {_fields(error)}") from None
    except SyntaxError as error:
        raise UsageError(f"recipe {name}: {error.filename}:{error.lineno}: {error.msg}") from None
    except Exception as error:  # noqa: BLE001 -- whatever a user's code raises is said in one line
        raise UsageError(f"recipe {name}: {_where(error, path)}{type(error).__name__}: {error}") from None
    if not isinstance(made, Recipe):
        raise UsageError(f"recipe {name}: {function}() returned {made!r}, which is no Recipe")
    try:
        return Recipe.model_validate(tree_of(made))  # model_copy(update=...) checks nothing
    except ValidationError as error:
        raise UsageError(f"recipe {name}: {function}() returned a Recipe with {_fields(error)}") from None


def _call(path: str, function: str) -> Any:
    spec = spec_from_file_location(Path(path).stem, Path(path).absolute())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, function, None)):
        functions = [
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        ]
        raise UsageError(f"it has no function {function}; it has {', '.join(functions) or 'none'}")
    return getattr(module, function)()


def _where(error: Exception, path: str) -> str:
    """`FILE:LINE: ` of the innermost frame in the user's file, nothing where none is in it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(Path(path).absolute())]
    return f"{path}:{lines[-1]}: " if lines else ""


def _fields(error: ValidationError) -> str:
    """Every field that is wrong, and what it takes."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {needed(one)}" if one["loc"] else needed(one)
        for one in error.errors()
    )
