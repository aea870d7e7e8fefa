"""Words of a study: a proposal to answer, an end, a line per training."""

from textwrap import fill

from tuning.method.rows import Finished, Proposal
from tuning.method.state import MethodState
from tuning.method.values import Change, Effect, Reading, Trial, Verdict

MEANING = {
    "bug": "something is broken; the model is not the question yet",
    "input": "the images do not come in time",
    "numerics": "the numbers do not stay finite",
    "capacity": "the network is too small",
    "data": "there are too few images",
    "regularization": "it is regularized too little",
    "less_regularization": "it is regularized too much",
    "lr_up": "the learning rate is too low",
    "lr_down": "the learning rate is too high",
    "longer": "it is trained too briefly",
    "labels": "the labels are wrong too often",
    "floor": "nothing that was tried helps any more",
    "inconclusive": "it cannot be told from what was seen",
    "met": "the target is met",
    "budget": "the budget is spent",
    "mismatch": "the held-out images are not like those of val",
}


def proposal_text(proposal: Proposal, state: MethodState) -> str:
    """All that an answer needs: verdict, evidence, what to do and its price, what else there is."""
    verdict = proposal.verdict
    lines = [f"== round {proposal.round}: {MEANING[verdict.cause]} ({verdict.cause}) =="]
    lines += _items("evidence", verdict.evidence)
    lines += _items("confidence", (_confidence(verdict.confidence),))
    lines += _items("spent", (f"{state.spent:.3g} of {state.budget:.3g} GPU-hours",))
    lines += _items("proposed", (_proposed(verdict),))
    if verdict.change is not None:
        lines += _items("cost", (f"{proposal.cost:.3g} GPU-hours a training",))
    lines += _items("otherwise", tuple(_alternative(effect) for effect in proposal.alternatives))
    lines += _items("not tested", verdict.untested)
    lines += _items("would change it", (verdict.would_change_it,))
    return "\n".join(lines)


def end_text(end: Finished, state: MethodState) -> str:
    """How it ended, and the recipe that it came to."""
    lines = [f"== {MEANING[end.outcome]} ({end.outcome}) =="]
    lines += _items("because", (end.text,))
    if end.verdict is not None:
        lines += _items("evidence", end.verdict.evidence)
        lines += _items("not tested", end.verdict.untested)
    lines += _items("would change it", (end.would_change_it,))
    lines += _items("changed", tuple(change_text(change) for change in state.accepted) or ("nothing",))
    looks = {0: "val was not looked at", 1: "one look at val"}.get(n := len(state.looks), f"{n} looks at val")
    lines += _items("spent", (f"{state.spent:.3g} of {state.budget:.3g} GPU-hours, {looks}",))
    return "\n".join(lines)


def trained_text(trial: Trial, reading: Reading) -> str:
    """A line for a training that ended."""
    what = trial.change.name if trial.change else "incumbent"
    error = f"error {reading.minival.share:.2%}" if reading.minival else reading.problem or "no error known"
    return f"  seed {trial.seed}  {what:24}  {reading.state:8}  {error}  {reading.gpu_hours:.3g} GPU-hours"


def change_text(change: Change) -> str:
    """A change by its name and its settings."""
    parts = [f"{path}={value}" for path, value in change.settings.items()]
    parts += [f"{change.length:g} x the epochs"] if change.length != 1 else []
    return f"{change.name} ({', '.join(parts)})" if parts else change.name


def _proposed(verdict: Verdict) -> str:
    if verdict.change is not None:
        return change_text(verdict.change)
    if verdict.cause == "data":
        return "more images; nothing in the recipe. Accepting ends the study"
    if verdict.cause == "labels":
        return "train on the cleaned labels; nothing in the recipe. Accepting ends the study"
    if verdict.cause in ("bug", "input", "numerics"):
        return "mend it, then run again; rejecting goes on in spite of it. Accepting ends the study"
    return "stop here. Accepting ends the study"


def _confidence(probability: float | None) -> str:
    if probability is None:
        return "no probability: it is no effect"
    return (
        "over 99.9 % that the sign is right"
        if probability > 0.999
        else f"{probability:.1%} that the sign is right"
    )


def _alternative(effect: Effect) -> str:
    sure = "counts" if effect.counts else "does not count"
    return (
        f"{change_text(effect.change)}: {100 * effect.mean:+.2f} points over {effect.n} pair(s), {sure} (beyond "
        f"{100 * effect.least:.2f})"
    )


def _items(name: str, texts: tuple[str, ...]) -> list[str]:
    """Texts behind a name in a column of its own, wrapped."""
    lines = []
    for number, text in enumerate(texts):
        head = f"{name if number == 0 else '':16} "
        lines.append(
            fill(text, width=112, initial_indent=head, subsequent_indent=" " * 19, break_on_hyphens=False)
        )
    return lines
