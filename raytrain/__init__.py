"""raytrain: large-scale image pretraining on Ray, told in the open."""

__version__ = "0.1.0"
