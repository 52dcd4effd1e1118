"""The report: one offline HTML page and canonical JSON, made from the document and the evidence of a run and from nothing else."""

from rnpc.report.evidence import ClassRow, Cut, Evidence, Step, Trigger
from rnpc.report.writer import write

__all__ = ["ClassRow", "Cut", "Evidence", "Step", "Trigger", "write"]
