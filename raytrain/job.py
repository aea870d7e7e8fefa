"""A job: a plan, on this data, in this folder. What a driver is given, and each of its workers."""

from data_shards.budget import MAX_BAD
from data_shards.shardset import Value
from raytrain.plan import RunPlan


class Job(Value):
    """A plan, and where its data and its run are. `resume` is the verified checkpoint to go on from.

    `run` is its folder, on a disk that all workers share. Where the run lies in S3, that is `remote`, and each process
    has a folder of its own.

    `max_bad` is the share of undecodable training images that it puts up with: it may change while the run goes on.
    `until` is the optimizer step at which this start ends, evaluated and saved: a rung of a sweep. The plan stays that
    of the whole run, and a later start goes on from there.
    """

    plan: RunPlan
    data_url: str
    run: str
    remote: str = ""
    resume: str | None = None
    max_bad: float = MAX_BAD
    until: int | None = None

    @property
    def place(self) -> str:
        """Where its checkpoints are."""
        return self.remote or self.run

    @property
    def last(self) -> int:
        """The step after which this start has nothing to do."""
        return min(self.until or self.plan.lengths.steps, self.plan.lengths.steps)
