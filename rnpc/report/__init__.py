"""The report: one offline HTML page and canonical JSON, made from the document and the panels of a run and from nothing else."""

from rnpc.report.writer import write

__all__ = ["write"]
