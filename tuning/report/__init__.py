"""The report of a study: one page and a Markdown journal, both a pure function of its ledger and its runs' files."""

from tuning.report.study import is_study, read_study, write_report

__all__ = ["is_study", "read_study", "write_report"]
