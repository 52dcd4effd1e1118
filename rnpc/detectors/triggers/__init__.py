"""The verdict by inverted triggers; see `detector`."""

from __future__ import annotations

from rnpc.detectors.triggers.detector import Triggers

__all__ = ["Triggers"]
