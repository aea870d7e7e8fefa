"""The world of `raytrain improve`: real trainings, on Ray or in this process."""

from collections.abc import Callable, Sequence

from tuning.method.recipe_world import RecipeWorld
from tuning.method.world import World
from tuning.search.session import Where, executor_for
from tuning.search.training import Training
from tuning.search.values import RungJob, RungResult


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


def opened(
    base: Training,
    *,
    clean: str | None,
    where: Where,
    concurrency: int | None,
    address: str | None,
    say: Callable[[str], None],
) -> World:
    """The world of this plan. Raises UsageError where its data has no minival."""

    def executor(training: Training) -> Opening:
        return Opening(training, where, concurrency, address)

    return RecipeWorld(base, executor=executor, clean=clean, say=say)
