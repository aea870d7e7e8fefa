"""The words of a page, for goldens."""

import re
from html.parser import HTMLParser
from pathlib import Path


class Skeleton(HTMLParser):
    """The page's words, a line per block; charts, pictures and style are left out."""

    BLOCKS = frozenset(
        {"h1", "h2", "h3", "p", "tr", "figcaption", "div", "section", "table", "footer", "pre"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.hidden = [""], 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("svg", "style") or (tag, ("class", "pictures")) == (tag, *attrs[:1])
        if tag in self.BLOCKS and self.lines[-1]:
            self.lines.append("")
        if tag in ("td", "th") and self.lines[-1]:
            self.lines[-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("svg", "style")

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if words and not self.hidden:
            self.lines[-1] += f"{' ' if self.lines[-1][-1:].strip() else ''}{words}"


def skeleton(html: str, tmp_path: Path) -> str:
    reader = Skeleton()
    reader.feed(re.sub(r'<div class="pictures">.*?</div>\n\n', "(pictures)", html, flags=re.S))
    return "\n".join(line.rstrip() for line in reader.lines).replace(str(tmp_path), "TMP") + "\n"
