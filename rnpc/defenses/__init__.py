"""Defenses: what is to be done. One file each (a folder where it needs more), and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnpc.catalogue import Catalogue, Entry

if TYPE_CHECKING:
    from rnpc.defenses.base import Defense

DEFAULT = "auto"
DEFENSES: Catalogue[Defense] = Catalogue(
    "method",
    {
        "auto": Entry("rnpc.defenses.auto:Auto", "blind: a verdict by triggers, a cut judged by fresh ones"),
        "rnp": Entry("rnpc.defenses.rnp:Rnp", "Reconstructive Neuron Pruning as published"),
        "fine-pruning": Entry("rnpc.defenses.fine_pruning:FinePruning", "dormant channels of the last convolution, then fine-tuning"),
        "ft-sam": Entry("rnpc.defenses.ft_sam:FtSam", "sharpness-aware fine-tuning of all weights"),
    },
)
