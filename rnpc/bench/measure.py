"""CA and ASR of a file's bytes on the whole test split, in onnxruntime, kept by content so that no file is measured twice.

ASR is counted as `rnpc eval --trigger` counts it. Beside the counts an answer keeps which test images were right, so that two files are
compared in pairs.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnpc.bench import source, store
from rnpc.runtime import Device, Session, accuracy, attack_success, predict, predict_triggered
from rnpc.stats import Rate, rate

if TYPE_CHECKING:
    from rnpc.attacks.base import Target
    from rnpc.data.datasets import Dataset
    from rnpc.program import Preprocessing


@dataclass(frozen=True)
class Attacked:
    """What a file is measured on: a data set's test split, how the file reads images, the trigger's graph, the target, and the labels of
    the test images that count for ASR (None, None and none of them for a clean victim)."""

    data: Dataset
    pre: Preprocessing
    trigger: bytes | None
    target: Target | None
    counted: tuple[int, ...]
    device: Device
    threads: int

    def rows(self) -> np.ndarray:
        """The test images that count for ASR."""
        return np.flatnonzero(np.isin(np.asarray(self.data.test_labels), self.counted))


@dataclass(frozen=True)
class Answer:
    """CA as (hits, images), ASR likewise or None, the provider, and the bits [images] of what was right, packed and in base64."""

    ca: tuple[int, int]
    asr: tuple[int, int] | None
    provider: str
    right: str

    def correct(self) -> np.ndarray:
        """bool [images]."""
        return np.unpackbits(np.frombuffer(base64.b64decode(self.right), np.uint8), count=self.ca[1]).astype(bool)

    def document(self) -> dict[str, Any]:
        """The rates with their intervals."""
        return {"ca": document(rate(*self.ca)), "asr": None if self.asr is None else document(rate(*self.asr)), "provider": self.provider}


def measured(model: bytes, on: Attacked, cache: Path) -> Answer:
    """`measure`, from the folder `cache` where it was done before."""
    name = {
        "model": hashlib.sha256(model).hexdigest(),
        "trigger": None if on.trigger is None else hashlib.sha256(on.trigger).hexdigest(),
        "target": on.target,
        "counted": list(on.counted),
        "input": {key: value for key, value in asdict(on.pre).items() if key != "sources"},
        "data": on.data.digest,
        "device": on.device,
        "threads": on.threads,
        "code": source.measuring_digest(),
    }
    place = cache / f"{store.key_of(name)}.json"
    kept = store.read(place)
    if kept is not None:
        return Answer(tuple(kept["ca"]), kept["asr"] and tuple(kept["asr"]), kept["provider"], kept["right"])
    answer = measure(model, on)
    store.write(place, asdict(answer))
    return answer


def measure(model: bytes, on: Attacked, rows: np.ndarray | None = None) -> Answer:
    """CA on the test images `rows` (all by default), ASR on those of them that count."""
    data, pre = on.data, on.pre
    session = Session(model, device=on.device, threads=on.threads)
    chosen = np.arange(len(data.test_labels)) if rows is None else rows
    labels = np.asarray(data.test_labels)[chosen]
    logits = predict(session, data.test_images, pre, chosen)
    clean = accuracy(logits, labels)
    right = base64.b64encode(np.packbits(logits.argmax(1) == labels).tobytes()).decode()
    success = None
    if on.trigger is not None and on.target is not None:
        graph = Session(on.trigger, device=on.device, threads=on.threads, where="trigger.onnx")
        attacked = np.intersect1d(chosen, on.rows())
        triggered = predict_triggered(session, graph, data.test_images, pre, attacked)
        success = attack_success(triggered, np.asarray(data.test_labels)[attacked], on.target)
    return Answer((clean.hits, clean.n), None if success is None else (success.hits, success.n), session.provider, right)


def document(share: Rate) -> dict[str, Any]:
    """A rate with its counts and its 95 % interval."""
    return {"value": share.value, "hits": share.hits, "images": share.n, "interval": [share.low, share.high]}
