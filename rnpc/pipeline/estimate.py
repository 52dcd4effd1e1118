"""How long a run will take: steps that a search makes, times the seconds of one.

Nearly all of the time goes into steps forward and backward through the studied network, so that one such step, timed as the search runs
them (beside each other, a thread each), tells what the machine and the network have to do with it. How many there are follows from the
race of triggers, label by label and round by round; what is done after it, the cut and its repair above all, is taken as a number of
images that was counted on the demo's model. Races that end early, and models that are clean, take less.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from rnpc.detectors.base import Detector
from rnpc.detectors.triggers.race import PACES, Pace
from rnpc.pipeline.inputs import Inputs
from rnpc.pipeline.settings import Settings
from rnpc.runtime import exact, resolve
from rnpc.speed import side_by_side
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import LEAST
from rnpc.study.subject import Subject, prepare, stored

BATCH = 16
"""Images of the step that is timed."""
REPEATS = 3
REMOVAL = 330_000
"""Images that rank, cut, battery, repair and relapse take, forward and backward, whatever the number of labels; what goes forward only is
in it."""
OTHERWISE = 72_000
"""Images that a detector takes of which nothing is known: as many as the race at 43 labels."""
Batches = Callable[[int], int]


def expected_seconds(inputs: Inputs, settings: Settings) -> float:
    """Seconds that hardening takes from the proof of the twin on, roughly, by a few steps that are run here."""
    subject = prepare(inputs.program, inputs.pre, resolve(settings.device))
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with exact(subject.device.type):
            each = seconds_of_image(subject, inputs)
    finally:
        torch.set_num_threads(before)

    def at_once(batch: int) -> int:
        return subject.at_once(batch, LEAST)

    shrunk = at_once(BATCH) / BATCH
    return each * (detection_images(settings.witness(), subject.classes, at_once) + REMOVAL * shrunk)


def seconds_of_image(subject: Subject, inputs: Inputs) -> float:
    """Seconds that an image takes forward and backward, where as many steps run at a time as there are threads."""
    batch, count = subject.at_once(BATCH, LEAST), torch.get_num_threads() if subject.device.type == "cpu" else 1
    pixels = stored(inputs.images.images[:batch], subject.device).float() / 255
    labels = torch.from_numpy(inputs.labels[:batch]).to(subject.device)

    def step() -> None:
        leaf = torch.zeros_like(pixels[:1], requires_grad=True)
        with subject.precision():
            loss = F.cross_entropy(subject.logits(pixels + leaf).float(), labels)
        torch.autograd.backward(loss, inputs=[leaf])

    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        side_by_side([step] * count, subject.device.type)
        if subject.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[REPEATS // 2] / (count * max(len(pixels), 1))


def detection_images(detector: Detector | None, classes: int, at_once: Batches) -> int:
    """Images that a detector takes, forward and backward; `at_once`: how many of this size a step takes where it would take so many."""
    if detector is None:
        return 0
    pace = PACES.get(str(getattr(detector, "effort", "")))
    return OTHERWISE if pace is None else race_images(pace, classes, at_once)


def race_images(pace: Pace, classes: int, at_once: Batches) -> int:
    """The same for a race that no round ends early and that needs no fresh start."""
    labels = min(classes, pace.rounds[0].labels)
    pixels = sum(min(labels, each.labels) * each.effort.steps * at_once(each.effort.batch) for each in pace.rounds)
    look = labels * pace.look.steps * at_once(pace.look.batch)
    warps = sum(min(labels, each.labels) * each.effort.steps * at_once(each.effort.batch) for each in pace.warps)
    return len(PIXELS) * pixels + look + warps
