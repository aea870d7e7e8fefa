"""What an epoch asks of S3, and in what words a plan tells it."""

from cluster.fleet import Fleet
from data_shards.mix import Data, Mix, to_train
from data_shards.traffic import Traffic, no_traffic, traffic
from raytrain.plan.facts import DataFacts
from raytrain.recipe import Recipe


def traffic_of(
    recipe: Recipe, fleet: Fleet, data: Data, facts: DataFacts, url: str | None
) -> tuple[Traffic, dict[str, str]]:
    """Of an epoch's training images; none of sets that lie on a disk. Without a URL the data is taken to lie in S3."""
    training = to_train(url or "", data, recipe.train_split, recipe.train_fraction)
    urls = [part.url for part in training.parts] if isinstance(data, Mix) else [url or "s3://"]
    remote = [where.startswith("s3://") for where in urls]
    if not any(remote):
        return no_traffic(), dict.fromkeys(_paths(), "none: the data is read where it lies")
    found = traffic(training, fleet.nodes, facts.train_samples, remote)
    shards = sum(len(part.chosen.shards) for part in training.parts)
    assumed = ", assumed" if facts.name.startswith("assumed") else ""
    supposed = "" if url or isinstance(data, Mix) else "if it lies in S3: "
    nodes = f"{fleet.nodes} nodes" if fleet.nodes > 1 else "1 node"
    kept = "; what a node's cache still holds is not asked for again" if fleet.nodes == 1 else ""
    return found, {
        "estimates.traffic.set_bytes": f"{shards:,} shards with their indexes{assumed}",
        "estimates.traffic.bytes": f"{supposed}each file once per node that reads its stream, {nodes}{kept}",
        "estimates.traffic.gets": "a GET per 8 MiB of each file",
        "estimates.traffic.node_bytes": f"bytes / {nodes}",
        "estimates.traffic.node_gets": f"GETs / {nodes}",
    }


def _paths() -> list[str]:
    return [f"estimates.traffic.{name}" for name in Traffic.model_fields]
