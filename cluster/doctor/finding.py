"""Finding: what one check says of one node, or of the cluster."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from rich.table import Table

State = Literal["ok", "warn", "bad"]
COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}
EVERYWHERE = "cluster"
"""The node of a finding that is of no single one."""


class Finding(BaseModel):
    """What is there, what has to be, and how to get there. `bad` stops a run, `warn` does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    node: str = EVERYWHERE
    state: State
    there: str
    limit: str
    fix: str = ""

    @property
    def line(self) -> str:
        """In one line, for a message."""
        fix = f". {self.fix}" if self.fix else ""
        return f"{self.check} ({self.node}): {self.there}; it has to be {self.limit}{fix}"


def judged(
    check: str, node: str, *, bad: bool, there: str, limit: str, fix: str, warn: bool = False
) -> Finding:
    """A finding that is `bad`, else `warn`, else ok and needs no fix."""
    state: State = "bad" if bad else "warn" if warn else "ok"
    return Finding(
        check=check, node=node, state=state, there=there, limit=limit, fix="" if state == "ok" else fix
    )


def many(count: int, what: str) -> str:
    """1 node, 2 nodes."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def worst(findings: Iterable[Finding]) -> State:
    """The worst state of all; ok where there are none."""
    states = {finding.state for finding in findings}
    return "bad" if "bad" in states else "warn" if "warn" in states else "ok"


def in_all(findings: Iterable[Finding]) -> str:
    """The verdict in one line."""
    counts = Counter(finding.state for finding in findings)
    bad = f"{counts['bad']} bad: mend that first" if counts["bad"] else "nothing is bad"
    return f"{bad}; {many(counts['warn'], 'warning')}, {counts['ok']} ok"


def refuse(findings: Iterable[Finding]) -> None:
    """Raise ClusterError with all that is bad, if anything is."""
    bad = [finding.line for finding in findings if finding.state == "bad"]
    if bad:
        raise ClusterError(
            "this cluster would not carry the run:\n  " + "\n  ".join(bad) + "\n"
            "`raytrain cluster doctor` looks again"
        )


def as_table(findings: list[Finding]) -> "Table":
    """A row per finding, and the fix under what needs one."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "node", "what is there", "has to be", box=None)
    for found in findings:
        table.add_row(
            Text(found.state, COLOURS[found.state]), Text(found.check), Text(found.node), Text(found.there),
            Text(found.limit),
        )  # fmt: skip
        if found.fix:
            table.add_row("", "", "", Text(f"-> {found.fix}", "bold"), "")
    return table
