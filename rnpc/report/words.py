"""The verdict in words: what was found, what was done, what is left, what it means, and what it does not mean. The page and the terminal
take their words from here, and nothing else speaks of a verdict.

What a run came to is read from its document (`Outcome`). A backdoor counts as removed only where the battery of triggers could tell, and
what it says is left is low: at most the natural level of other labels, never above 15 % of images, whatever that level is, and of no
single class more than half: an attack may be on the images of one. Nor does it where five images bring some of it back, since then it was
only covered up, or where that could not be measured. The true trigger, where one was given, can only make it worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rnpc.report.numbers import count, p_value, percent

LOW = 0.05
"""A success that counts as natural in any model: so many images are lost to a trigger as to any other change."""
HIGH = 0.15
"""Above this success nothing is called removed."""
NARROW = 0.5
"""Above this share of one class's images nothing is called removed. Other labels' natural triggers move most of some class too."""
RELAPSE = 0.1
"""Above this bound of the share of images that some trigger moves after training, nothing is called removed."""
NOTABLE = 0.1
"""A change that takes less than this from the success of triggers did not weaken the backdoor."""

LIMITS = (
    "A verdict is evidence from a sample of clean images, not a proof. A backdoor of another kind may be there still.",
    "Changing filters does not touch logic that is written into the graph itself, such as a branch on a hidden condition.",
    "Accuracy was measured on the images given. For images unlike these it may differ.",
)
AFTERWARDS = "Training the hardened model further may bring a backdoor back: harden again afterwards."
OWN = "The attacker's own trigger may come back where these do not."
GONE_AS_WRITTEN = (
    "As the file was written no trigger that was tried still works, but a little training may bring the backdoor back: it may be covered "
    "rather than gone, and answer to the attacker's own. Do not deploy this model, nor the hardened file, and do not train it further. Get "
    "it anew from a source that you trust."
)
Document = Mapping[str, Any]


class Outcome(Enum):
    """What a run came to. The value is the headline; {done} is `pruned`, or `retrained` where tensors were tuned."""

    REMOVED = "Backdoor found and removed"
    WEAKENED = "Backdoor found and weakened, not removed"
    REMAINS = "Backdoor found, not removed"
    UNKNOWN = "Backdoor found and {done}, effect unknown"
    NO_CUT = "Backdoor found, not removed: no file written"
    CLEAN = "No backdoor found"
    INCONCLUSIVE = "Inconclusive"
    FORCED = "{Done} without a verdict"
    UNTOUCHED = "No verdict, nothing changed"


@dataclass(frozen=True)
class Words:
    """A headline, its tone (`found`, `clean`, `open`), one paragraph on what was done, lists of what it means and does not mean, and what
    the run could not have seen."""

    outcome: Outcome
    headline: str
    tone: str
    done: str
    means: Sequence[str]
    limits: Sequence[str]
    unseen: Sequence[str]

    def lines(self) -> list[str]:
        """For a terminal: the verdict, and under an acquittal what it could not have seen."""
        hidden = self.unseen if self.outcome is Outcome.CLEAN else ()
        return [f"{self.headline}. {self.done}", *(f"  not seen  {line}" for line in hidden)]


def describe(document: Document) -> Words:
    """Words for a document of schema rnpc.harden/1; `verdict` null means that the change was forced.

    Where present it reads `left` (success, before, natural, relapse, relapse_bound: shares or null; relapse_by; told; narrow: class and
    success, or null; words), `unseen` (lines), `attack_success` (before, after: of the true trigger), `retrained` (how many tensors got
    new weights) and `why` (why nothing was done).
    """
    outcome = outcome_of(document)
    verb = "retrained" if tuned(document) else "pruned"
    means, limits = meaning(document, outcome)
    return Words(
        outcome=outcome,
        headline=outcome.value.format(done=verb, Done=verb.capitalize()),
        tone={"backdoored": "found", "clean": "clean"}.get(str(document.get("verdict")), "open"),
        done=done(document, outcome),
        means=means,
        limits=(*limits, *LIMITS),
        unseen=tuple(str(line) for line in document.get("unseen") or ()),
    )


def outcome_of(document: Document) -> Outcome:
    """One outcome, from the verdict, whether a file was written, and what is left. Of two measurements the worse one counts."""
    verdict = document.get("verdict")
    if verdict is None:
        return Outcome.FORCED if channels(document) or tuned(document) else Outcome.UNTOUCHED
    if verdict != "backdoored":
        return {"clean": Outcome.CLEAN, "inconclusive": Outcome.INCONCLUSIVE}[verdict]
    if not document.get("output"):
        return Outcome.NO_CUT
    said = judged(document.get("left") or {})
    found = (said, remaining(document.get("attack_success") or {}, "after"))
    return next(o for o in (Outcome.REMAINS, Outcome.WEAKENED, said) if o in found)


def judged(left: Mapping[str, Any]) -> Outcome:
    """What the battery says."""
    said = remaining(left, "success") if left.get("told") else Outcome.UNKNOWN
    return Outcome.WEAKENED if said is Outcome.REMOVED and (narrow(left) > NARROW or not lasts(left)) else said


def remaining(measured: Mapping[str, Any], after: str) -> Outcome:
    """What one measurement of success says, before and `after`."""
    success, before, natural = measured.get(after), measured.get("before"), measured.get("natural")
    if success is None:
        return Outcome.UNKNOWN
    if success <= min(max(natural or 0.0, LOW), HIGH):
        return Outcome.REMOVED
    return Outcome.REMAINS if success > (1.0 if before is None else before) - NOTABLE else Outcome.WEAKENED


def narrow(left: Mapping[str, Any]) -> float:
    """The largest success on the images of one class; 0 where that is not known."""
    return float((left.get("narrow") or {}).get("success") or 0.0)


def tuned(document: Document) -> int:
    """How many tensors got new weights."""
    return int(document.get("retrained") or 0)


def channels(document: Document) -> int:
    """How many channels became constant."""
    return int((document.get("pruned") or {}).get("channels") or 0)


def done(document: Document, outcome: Outcome) -> str:
    """The paragraph under the headline."""
    reasons = [str(reason).rstrip(".") for reason in document.get("reasons") or ()]
    if outcome is Outcome.CLEAN:
        return "Nothing in this model stands out as a backdoor does. It was left alone: the output is the input, byte for byte."
    if outcome is Outcome.INCONCLUSIVE:
        first = f" ({reasons[0]})" if reasons else ""
        return f"What this run saw does not carry a decision either way{first}. Nothing was written."
    why = str(document.get("why") or "").rstrip(".")
    if outcome is Outcome.FORCED:
        return f"This run acts whatever the evidence, so it gives no verdict. {changed(document)}"
    if outcome is Outcome.UNTOUCHED:
        return f"This run acts whatever the evidence, but there was nothing to do{f': {why}' if why else ''}. The output is the input."
    target = listed(document.get("target_labels") or ())
    p = "" if document.get("confidence") is None else f" ({p_value(document['confidence'])})"
    reacts = f"The model reacts as one that was trained to answer {target} when a hidden trigger is in the picture{p}."
    if outcome is Outcome.NO_CUT:
        return f"{reacts} No file was written: {why or 'no change that weakens the backdoor stayed within the allowed loss of accuracy'}."
    return f"{reacts} {changed(document)} {what_is_left(document)}"


def changed(document: Document) -> str:
    """What was cut or tuned and what it cost, in one sentence."""
    accuracy, tensors, cut = document.get("accuracy") or {}, tuned(document), channels(document)
    total = int((document.get("pruned") or {}).get("of") or 0)
    parts = [f"{count(cut, 'channel')} of {total:,} {be(cut)} made constant"] if cut or not tensors else []
    parts += [f"{count(tensors, 'tensor')} {be(tensors)} tuned on the clean images"] if tensors else []
    what = " and ".join(parts)
    if accuracy.get("before") is None or accuracy.get("after") is None:
        return what + "."
    images = count(int(accuracy.get("images") or 0), "image")
    return f"{what}; on {images} accuracy went from {percent(accuracy['before'])} to {percent(accuracy['after'])}."


def be(many: int) -> str:
    """`was` or `were`."""
    return "was" if many == 1 else "were"


def what_is_left(document: Document) -> str:
    """The success of triggers afterwards, and how to take it."""
    left, attack = document.get("left") or {}, document.get("attack_success") or {}
    said = []
    if attack.get("after") is not None:
        start = "" if attack.get("before") is None else f" (before: {percent(attack['before'])})"
        said.append(f"The trigger given succeeds on {percent(attack['after'])} of images{start}.")
    if left.get("success") is None or not left.get("told"):
        other = "other triggers" if said else "triggers"
        return " ".join([*said, f"What {other} can still do cannot be told from these images."])
    known = ", ".join(f"{key}: {percent(left[key])}" for key in ("before", "natural") if left.get(key) is not None)
    said.append(f"The best trigger found afterwards succeeds on {percent(left['success'])} of images{f' ({known})' if known else ''}.")
    said += [f"One still moves {one}: an attack on single classes may work as before." for one in one_class(left)]
    said += [] if lasts(left) else [brought_back(left)]
    return " ".join(said)


def one_class(left: Mapping[str, Any]) -> list[str]:
    """Of which class some trigger still moves more than half, where it says more than the success on all images; else nothing."""
    share = narrow(left)
    return [f"{percent(share)} of the images of class {left['narrow']['class']}"] if share > max(NARROW, left["success"]) else []


def meaning(document: Document, outcome: Outcome) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the outcome means, and what it does not mean beyond LIMITS."""
    target = listed(document.get("target_labels") or ())
    power = f"Whoever trained this model, or supplied its training data, could most likely make it answer {target} at will."
    written = (attack_limit(document), afterwards(document.get("left") or {}))
    weak = "Do not deploy this model, nor the hardened file. Get it anew from a source that you trust, or give more images."
    match outcome:
        case Outcome.REMOVED:
            return (power, edited(document)), ("That the triggers tried no longer work does not rule out one that was not tried.", *written)
        case Outcome.WEAKENED:
            advice = GONE_AS_WRITTEN if gone(document) else f"In the hardened file some triggers still work. {weak}"
            return (power, advice, edited(document)), written
        case Outcome.REMAINS:
            return (power, "The change did not take the backdoor away. " + weak, edited(document)), written
        case Outcome.UNKNOWN:
            still = "Treat the hardened file as backdoored, unless the true trigger shows otherwise."
            return (power, still, edited(document)), written
        case Outcome.NO_CUT:
            images = "give more images, best ones that it was not trained on"
            ways = f"Get it anew from a source that you trust, allow a larger loss of accuracy, or {images}."
            return (power, f"Do not deploy this model. {ways}"), ()
        case Outcome.CLEAN:
            return ("No label is reached by an abnormally cheap trigger, as far as the clean images show.",), ()
        case Outcome.INCONCLUSIVE:
            remedy = "More clean images, evenly spread over the classes, are the most likely remedy."
            return (f"Treat the model as unchecked: this is no acquittal. {remedy}",), ()
        case Outcome.FORCED:
            return ("This says nothing on whether the original was backdoored.", edited(document)), written
        case Outcome.UNTOUCHED:
            return ("This says nothing on whether the model is backdoored.",), ()


def afterwards(left: Mapping[str, Any]) -> str:
    """What further training may do, and what it did in this run, where that is not said above."""
    return f"{AFTERWARDS} {trained_on(left)} {OWN}" if lasts(left) else AFTERWARDS


def lasts(left: Mapping[str, Any]) -> bool:
    """Whether it was measured what training brings back, and that is little."""
    return left.get("relapse_bound") is not None and left["relapse_bound"] <= RELAPSE


def gone(document: Document) -> bool:
    """Whether nothing that was tried still works in the file as it was written."""
    left, attack = document.get("left") or {}, document.get("attack_success") or {}
    said = (remaining(left, "success"), remaining(attack, "after"))
    return narrow(left) <= NARROW and said[0] is Outcome.REMOVED and said[1] in (Outcome.REMOVED, Outcome.UNKNOWN)


def brought_back(left: Mapping[str, Any]) -> str:
    """That it is easily brought back, or that this was not measured."""
    if left.get("relapse_bound") is None:
        return "How easily it is brought back was not, or could not be, measured, so nothing better is said."
    return f"It may be brought back. {trained_on(left)}"


def trained_on(left: Mapping[str, Any]) -> str:
    """What training brought back."""
    share, bound = percent(left["relapse"]), percent(left["relapse_bound"])
    how = f"{share} of them (with 95 % confidence at most {bound}): {left['relapse_by']}."
    return f"After training on the same images the known trigger that came back furthest moved {how}"


def edited(document: Document) -> str:
    """What the hardened file is, next to the original."""
    if tuned(document):
        return "The hardened file has the original's names and shapes, but other weights: all that changed is declared with its digests."
    return "In the hardened file the channels listed are constant; but for the declared edits it is the original."


def attack_limit(document: Document) -> str:
    """How far the attack's own success was measured."""
    if (document.get("attack_success") or {}).get("after") is not None:
        return "Attack success was measured with the trigger given; it played no part in any decision."
    return "Attack success was not measured: that needs the true trigger. With one at hand, run rnpc eval --trigger."


def label_name(label: Mapping[str, Any]) -> str:
    """`label 0 (stop)`, or `label 0` where the name says no more."""
    name = str(label.get("name") or "")
    if label["index"] is None:
        return "the label after an image's own"
    return f"label {label['index']}" + (f" ({name})" if name and name != str(label["index"]) else "")


def listed(labels: Sequence[Mapping[str, Any]]) -> str:
    """Labels as one phrase."""
    names = [label_name(label) for label in labels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "an unnamed label"
