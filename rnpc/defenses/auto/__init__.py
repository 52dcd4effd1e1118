"""`auto`, the default: the blind method; see `defense`."""

from __future__ import annotations

from rnpc.defenses.auto.defense import Auto

__all__ = ["Auto"]
