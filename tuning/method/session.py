"""A session: what `raytrain improve` does around the loop. Options become a study and a world, then a page."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.fleet import Fleet
from raytrain.claim import run_lock
from raytrain.errors import ResumeLater, UsageError
from raytrain.plan import Init, flatten
from raytrain.recipe import Recipe
from raytrain.session import run_folder, warn
from tuning.ledger import LEDGER, Called, Ledger, read_ledger
from tuning.method.floor import UNKNOWN, parse_floor
from tuning.method.forecast import forecast, forecast_text
from tuning.method.loop import Answerer, begin, carry_on
from tuning.method.person import Said, automatic, tell_answers, terminal, waiting
from tuning.method.recipe_world import RecipeWorld
from tuning.method.rows import LEAST, ROWS, Finished, Row, Started
from tuning.method.state import MethodState, replay
from tuning.method.target import parse_target
from tuning.method.world import World
from tuning.search.session import Asked, Where, best_command, check_alone, executor_for, training_of
from tuning.search.training import Training
from tuning.search.values import RungJob, RungResult


class Request(Asked):
    """What the command line asks for, as it was typed."""

    target: str
    budget: float
    floor: str | None
    least: float | None
    seeds: int
    length: float
    clean: str | None
    concurrency: int | None
    address: str | None

    def started(self) -> Started:
        """The study that it means, but for its plan. Raises UsageError for a target or a floor that is none."""
        return Started(
            recipe=self.recipe,
            target=parse_target(self.target),
            floor=parse_floor(self.floor) if self.floor else UNKNOWN,
            budget=self.budget,
            seeds=self.seeds,
            length=self.length,
            least=self.least or LEAST,
        )


class Opening:
    """An executor that is there while it trains: between two batches a person may think for days."""

    def __init__(
        self, training: Training, where: Where, concurrency: int | None, address: str | None
    ) -> None:
        self.training, self.where, self.concurrency, self.address = training, where, concurrency, address

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """Start Ray or connect to it, train, and leave."""
        with executor_for(self.training, self.where, self.concurrency, self.address) as executor:
            executor.run(jobs, done)


def improve(
    request: Request, said: Said, *, auto: bool, resume: bool, copy: str | None, typed: Sequence[str]
) -> tuple[Finished, MethodState]:
    """Begin the study that is asked for, or go on with it, to its end. `typed` is the command line.

    `resume` insists that there is one. Raises ResumeLater where a proposal waits or a training was interrupted, and
    what `begin`, the answers and the world raise. Whatever ends it, its report is made anew.
    """
    said.check()
    folder = run_folder(request.out)
    if (resume or said.answers) and not (folder / LEDGER).exists():
        raise UsageError(f"--out {folder}: there is no study to go on with")
    training, wanted = prepared(request)
    world = world_of(request, training)
    recipe = training.plan.recipe
    with run_lock(folder):
        ledger: Ledger[Row] = Ledger(folder, ROWS, copy=copy, say=warn)
        begin(ledger, wanted, world)
        workers, train = training.plan.placement.workers, best_command(request, {})
        ledger.note(Called(command=shlex.join(typed), workers=workers, train=train))
        try:
            tell_answers(ledger, world, said, recipe)
            end = carry_on(ledger, world, _answerer(recipe, typed, auto=auto), warn)
        except KeyboardInterrupt:
            raise ResumeLater("the study was interrupted; the same command continues it") from None
        finally:
            _report(folder)
    return end, replay(ledger.rows)


def prepared(request: Request) -> tuple[Training, Started]:
    """The plan that trials vary, and the study. Raises UsageError for what cannot be asked for."""
    wanted = request.started()  # before anything that takes time
    check_alone(request, request.concurrency)
    training = training_of(request, _start(request))
    plan = training.plan
    return training, wanted.model_copy(update={"given": flatten(plan.identity), "start": plan.init})


def world_of(request: Request, base: Training) -> World:
    """Real trials of this plan. Raises UsageError where its data has no minival."""

    def executor(training: Training) -> Opening:
        return Opening(training, request.where, request.concurrency, request.address)

    return RecipeWorld(base, executor=executor, clean=request.clean, say=warn)


def dry_run(request: Request) -> str:
    """What a round takes: trainings, GPU-hours and money. Nothing is trained."""
    training, wanted = prepared(request)
    found = forecast(replay([wanted]), world_of(request, training))
    return forecast_text(found, _hourly(training.fleet))


def _hourly(fleet: Fleet) -> float | None:
    price = fleet.node_price_per_hour
    return None if price is None else price * fleet.nodes / fleet.workers


def _start(request: Request) -> Init | None:
    """The checkpoint that the study there began with, though its source may have gone on since."""
    file = run_folder(request.out) / LEDGER
    if request.init is None or not file.exists():
        return None
    rows, _, _ = read_ledger(file, ROWS)
    return rows[0].start if rows and isinstance(rows[0], Started) else None


def _report(folder: Path) -> None:
    from tuning.report import write_report

    write_report(folder)


def _answerer(recipe: Recipe, typed: Sequence[str], *, auto: bool) -> Answerer:
    """Who answers: `--auto`, the person at this terminal, or nobody now."""
    if auto:
        return automatic(print)
    if sys.stdin.isatty() and sys.stdout.isatty():
        return terminal(print, recipe)
    return waiting(shlex.join(without_answers(typed)), print)


def without_answers(typed: Sequence[str]) -> list[str]:
    """The command line without what answers a proposal."""
    kept, left = [], list(typed)
    while left:
        word = left.pop(0)
        if word in ("--reject", "--force", "--pin"):
            left.pop(0)
        elif word not in ("--accept", "--freeze") and not word.startswith(
            ("--reject=", "--force=", "--pin=")
        ):
            kept.append(word)
    return kept
