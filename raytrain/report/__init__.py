"""Report: what a run did, read from its folder. Values and words load neither torch, Ray nor matplotlib."""

from raytrain.report.build import Report, build_report
from raytrain.report.render import write_report
from raytrain.report.words import headline, markdown

__all__ = ["Report", "build_report", "headline", "markdown", "write_report"]
