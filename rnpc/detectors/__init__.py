"""Detectors: who is accused, and how sure. One file each, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnpc.catalogue import Catalogue, Entry

if TYPE_CHECKING:
    from rnpc.detectors.base import Detector

DETECTORS: Catalogue[Detector] = Catalogue(
    "detector",
    {
        "witnesses": Entry("rnpc.detectors.witnesses:Witnesses", "triggers and a second witness, which must agree"),
        "triggers": Entry("rnpc.detectors.triggers:Triggers", "costs of inverted triggers, compared label with label"),
        "generators": Entry(
            "rnpc.detectors.generators:Generators", "a small generator for each label: changes that differ from image to image"
        ),
        "families": Entry("rnpc.detectors.families:Families", "patches that anyone might use, shown as they are"),
        "strained": Entry("rnpc.detectors.strained:Strained", "copies with a little noise in them, and where they go"),
        "mm-bd": Entry("rnpc.detectors.mmbd:MmBd", "margins over noise images, with a p-value"),
    },
)
