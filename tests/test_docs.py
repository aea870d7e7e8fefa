"""The documents keep their word: every local link exists, every command and recipe they name is there."""

import re
from pathlib import Path

from raytrain.console import COMMANDS
from raytrain.recipes import names

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_local_links_exist() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if "://" not in link
    ]
    assert len(links) > 20
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_named_commands_and_recipes_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    commands = set(re.findall(r"^\s*raytrain ([a-z]+)", text, flags=re.M))
    assert len(commands) > 6
    assert commands - set(COMMANDS) == set()
    recipes = set(re.findall(r"raytrain (?:train|plan|tune) (\w+)\b(?!\.py)", text))
    assert recipes - set(names()) == set()


def test_paths_in_code_quotes_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    paths = set(
        re.findall(r"`((?:cluster|data_shards|raytrain|tuning|tests|benchmarks)/[\w/]+\.(?:py|md))`", text)
    )
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
