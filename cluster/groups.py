"""Placement groups that nobody uses: Ray keeps a dead actor's as long as its job lives, and they hold the room."""

from ray._private.state import state  # no public call tells who made a group
from ray.core.generated import gcs_pb2
from ray.runtime_context import get_runtime_context
from ray.util.placement_group import PlacementGroup, PlacementGroupID, remove_placement_group


def let_go() -> None:
    """Remove this job's groups whose maker, a Ray Train controller, died: workers would wait for that room for ever.

    A controller dies with its driver, which in a sweep is a process of the same job. Ray Train's own cleaner asks the
    dashboard, which a local Ray does not have.
    """
    mine, accessor = get_runtime_context().get_job_id(), state._connect_and_get_accessor()
    for held in accessor.get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(held)
        by_actor = group.creator_actor_id.strip(b"\xff") != b""
        if (
            group.creator_job_id.hex() == mine
            and by_actor
            and group.creator_actor_dead
            and group.state != group.REMOVED
        ):
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
