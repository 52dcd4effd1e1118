"""Repair where pruning alone does not do: the cut model learns to answer as the original does on clean images, and on images with the
triggers that still work as if they were not there (`study.distil`). The cut channels stay silenced.

After a course the battery searches afresh in the repaired model, since a model learns to resist the triggers that it was shown before it
learns to resist the backdoor; what it finds joins a second, shorter course.

A repair that leaves enough can be made to last (`lasting`): one more course frees the way back to the original's weights too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rnpc.defenses.auto import battery
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.errors import InputRefused
from rnpc.study.case import Case
from rnpc.study.distil import Course, distil
from rnpc.study.forms import Change
from rnpc.study.probes import Probe
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable

COURSES = (300, 150)
"""Steps of the first course, and of the one that follows where too much is left."""
LASTING = 300
"""Steps that make a repair last."""
FRESH, KNOWN = 4, 12
"""Fresh triggers that are shown, at most, and about how many of the probes: those between them judge."""


@dataclass(frozen=True)
class Repaired:
    """The tuned network, what is left in it (on the choose images), how many courses it took, and whether by Adam."""

    tunable: Tunable
    left: Found
    courses: int
    adam: bool = False


@dataclass(frozen=True)
class Task:
    """What a repair starts from: the channels that are cut, the probes that worked in the original, and what the battery found (`left`);
    `enough`: what may be left; `doubted`: the label of which the original is not believed on made images, if any; `aloud`: louder triggers
    are shown, too."""

    suspect: Suspect
    channels: tuple[Channel, ...]
    worked: Sequence[Probe]
    left: Found
    enough: float
    doubted: int | None = None
    aloud: bool = False


def repair(case: Case, task: Task, adam: bool = False) -> Repaired:
    """Tune by SGD or Adam until what is left is enough, or the courses end.

    Raises InputRefused for a model whose weights cannot be tuned, and where tuning diverges."""
    suspect, worked, tunable, changes = task.suspect, task.worked, Tunable.of(case, task.channels), shown(task)
    found, done = task.left, 0
    for done, steps in enumerate(COURSES, 1):
        if not distil(case, tunable, Course(changes, steps, case.seed + done, task.doubted), adam):
            raise InputRefused("the repair diverged", where="repair", todo="use --no-repair")
        hard = replace(case, subject=tunable.subject(case))
        found = battery.hardest(hard, suspect, tunable.edits, case.choose, worked, seed=100 * done)
        if found.success <= task.enough:
            break
        changes += fresh(found)
    return Repaired(tunable, found, done, adam)


def lasting(case: Case, task: Task, repaired: Repaired) -> Repaired | None:
    """The same tuned on, and the way back freed; None where that diverges."""
    courses, (tunable, origin) = repaired.courses + 1, (Tunable.of(case, task.channels) for _ in range(2))
    tunable.move(repaired.tunable, 1.0)
    changes = shown(task) + fresh(repaired.left)
    course = Course(changes, LASTING, case.seed + courses, task.doubted, origin)
    if not distil(case, tunable, course, repaired.adam):
        return None
    hard = replace(case, subject=tunable.subject(case))
    found = battery.hardest(hard, task.suspect, tunable.edits, case.choose, task.worked, seed=100 * courses)
    return Repaired(tunable, found, courses, repaired.adam)


def shown(task: Task) -> list[Change]:
    """What a first course shows: fresh triggers, known ones, and some of the probes; of other members of their families, and of louder
    triggers where they are shown, all."""
    worked = [probe for probe in task.worked if task.aloud or not probe.louder]
    first, others = ([probe.change for probe in worked if (probe.another or probe.louder) is kind] for kind in (False, True))
    known = [trigger.change for trigger in task.suspect.known]
    return [*fresh(task.left), *known, *first[:: max(1, len(first) // KNOWN)], *others]


def fresh(found: Found) -> list[Change]:
    """The strongest of the battery's own."""
    return [trigger.change for trigger in found.triggers[:FRESH]]


def partly(case: Case, task: Task, repaired: Repaired, part: float) -> Repaired:
    """The network on the line from the original (0) to the repaired one (1), with the same channels cut."""
    tunable = Tunable.of(case, task.channels)
    tunable.move(repaired.tunable, part)
    hard = replace(case, subject=tunable.subject(case))
    found = battery.hardest(hard, task.suspect, tunable.edits, case.choose, task.worked, seed=100 * repaired.courses)
    return Repaired(tunable, found, repaired.courses, repaired.adam)
