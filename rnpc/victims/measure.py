"""CA and ASR of a written victim, in onnxruntime, on the whole test split."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnpc.attacks.base import Attack
from rnpc.data.datasets import Dataset
from rnpc.data.preprocess import to_input
from rnpc.runtime import Device, Session, accuracy, attack_success, parity, predict, predict_triggered
from rnpc.stats import Rate

PARITY_IMAGES = 256


def measure(folded: bytes, trigger: bytes | None, attack: Attack, data: Dataset, *, threads: int, device: Device) -> dict[str, Any]:
    """CA and ASR of the folded file with counts and 95 % intervals; ASR as `rnpc eval --trigger` counts it, None without a trigger."""
    pre, session = data.preprocessing, Session(folded, device=device, threads=threads, where="folded.onnx")
    clean = accuracy(predict(session, data.test_images, pre), data.test_labels)
    success = None
    if trigger is not None:
        graph = Session(trigger, device=device, threads=threads, where="trigger.onnx")
        # Images of the target class do not count (nor, for an attack on one class, those of the others), so they need not be computed.
        rows = attack.counted(np.asarray(data.test_labels))
        scores = predict_triggered(session, graph, data.test_images[rows], pre)
        success = attack_success(scores, data.test_labels[rows], attack.target)
    return {"ca": rate_document(clean), "asr": success and rate_document(success), "provider": session.provider}


def difference(folded: bytes, kept: bytes, data: Dataset, *, threads: int) -> dict[str, Any]:
    """How far the two files' scores lie apart, relative to the largest score, on the first test images."""
    inputs = to_input(data.test_images[:PARITY_IMAGES], data.preprocessing)
    scores = [Session(b, device="cpu", threads=threads).run(inputs) for b in (folded, kept)]
    return {"images": len(inputs), "relative_difference": parity(scores[0], scores[1])}


def rate_document(rate: Rate) -> dict[str, Any]:
    """A rate with its counts."""
    return {"value": rate.value, "hits": rate.hits, "images": rate.n, "interval": [rate.low, rate.high]}
