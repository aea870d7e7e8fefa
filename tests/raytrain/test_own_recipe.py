"""A user's own recipe, FILE.py:FUNCTION: found like any other, and what is wrong in it is one line with its place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raytrain.errors import UsageError
from raytrain.recipes import recipe, variants

HEAD = """\
from raytrain.recipe import Recipe, View
from raytrain.recipes import recipe
from raytrain.settings import change

def longer():
    return change(recipe("smoke_swin_22k"), {"name": "longer", "epochs": 16})

WIDTH = 3

def divided(by):
    return 1 / by

"""
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that puts lines after HEAD into mine.py; the name of the recipe `mine` in it."""
    monkeypatch.chdir(tmp_path)

    def put(body: str) -> str:
        Path("mine.py").write_text(HEAD + body)
        return "mine.py:mine"

    return put


def test_a_function_in_a_file_is_a_recipe(write: Write) -> None:
    write("")
    found = recipe("mine.py:longer")
    assert (found.name, found.epochs, found.made_for) == ("longer", 16, "synthetic-22k")
    assert recipe(f"{Path.cwd()}/mine.py:longer") == found
    assert variants("mine.py:longer") == {}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def mine():\n    return divided(0)", "mine.py:11: ZeroDivisionError: division by zero"),
        ("def mine():\n    return {}['lr']", "mine.py:14: KeyError: 'lr'"),
        ("def mine():\n    return recipe('swin')", "mine.py:14: unknown recipe 'swin'; the nearest: "),
        (
            "def mine():\n    return change(longer(), {'epoch': 3})",
            "mine.py:14: recipe 'longer' has no field 'epoch'; the nearest: epochs",
        ),
        (
            "def mine():\n    return Recipe(**{**longer().model_dump(), 'global_batch': 0, 'epoch': 1})",
            "mine.py:14: Recipe: global_batch: should be greater than 0; epoch: no such field there",
        ),
        (
            "def mine():\n    return View(eval_crop=2)",
            "mine.py:14: View: eval_crop: should be less than or equal to 1",
        ),
        (
            "def mine():\n    return longer().model_copy(update={'epochs': -3, 'global_batch': 0})",
            "mine() returned a Recipe with epochs: should be greater than 0; global_batch: should be greater than 0",
        ),
        ("def mine():\n    return WIDTH", "mine() returned 3, which is no Recipe"),
        (
            "def mine(size):\n    return longer()",
            "TypeError: mine() missing 1 required positional argument: 'size'",
        ),
        ("import raytrain.nothing", "mine.py:13: ModuleNotFoundError: No module named 'raytrain.nothing'"),
        ("", "it has no function mine; it has Recipe, View, recipe, change, longer, divided"),
    ],
)
def test_what_is_wrong_in_it_is_said_with_file_and_line(write: Write, body: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(write(body))
    message = str(refused.value)
    assert message.startswith(f"recipe mine.py:mine: {said}")
    assert "\n" not in message


def test_a_file_that_is_no_python_is_said_with_its_line(write: Write) -> None:
    with pytest.raises(UsageError, match=rf"^recipe mine.py:mine: {Path.cwd()}/mine.py:13: expected ':'$"):
        recipe(write("def mine()\n    pass"))


def test_a_file_that_is_not_there_is_named(write: Write) -> None:
    write("")
    with pytest.raises(UsageError, match=r"^recipe other.py:mine: there is no file other.py$"):
        recipe("other.py:mine")


def test_a_file_without_a_function_is_asked_for_one(write: Write) -> None:
    write("")
    with pytest.raises(UsageError, match=r"^recipe mine.py: which of its functions\? Say mine.py:FUNCTION$"):
        recipe("mine.py")
