"""What images come from: folders, ImageNet's archives as they are handed out, WebDataset tars."""

from data_shards.sources.base import Item, Source, read_item
from data_shards.sources.read import Inputs, Kind, read_source

__all__ = ["Inputs", "Item", "Kind", "Source", "read_item", "read_source"]
