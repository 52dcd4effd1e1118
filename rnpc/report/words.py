"""The verdict in words: what was found, what was done, what it means, and what it does not mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LIMITS = (
    "A verdict is evidence from a sample of clean images, not a proof. A backdoor of another kind may be there still.",
    "Pruning changes filters. It does not remove logic that is written into the graph itself, such as a branch on a hidden condition.",
    "Accuracy was measured on the images given. For images unlike these it may differ.",
)


@dataclass(frozen=True)
class Words:
    """A headline, its tone (`found`, `clean`, `open`), one paragraph on what was done, and lists of what it means and does not mean."""

    headline: str
    tone: str
    done: str
    means: Sequence[str]
    limits: Sequence[str]


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage with a space that does not break; a dash where it is unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u00a0%"


def count(number: int, noun: str) -> str:
    """`1 channel`, `2 channels`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def label_name(label: Mapping[str, Any]) -> str:
    """`label 0 (stop)`, or `label 0` where the name says no more."""
    name = str(label.get("name") or "")
    if label["index"] is None:
        return "the label after an image's own"
    return f"label {label['index']}" + (f" ({name})" if name and name != str(label["index"]) else "")


def listed(labels: Sequence[Mapping[str, Any]]) -> str:
    """The accused labels as one phrase."""
    names = [label_name(label) for label in labels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "an unnamed label"


def describe(document: Mapping[str, Any]) -> Words:
    """Words for a document of schema rnpc.harden/1; `verdict` null means that pruning was forced."""
    verdict = document.get("verdict")
    if verdict == "backdoored":
        return backdoored(document)
    if verdict == "clean":
        return clean()
    if verdict == "inconclusive":
        return inconclusive()
    return forced(document)


def backdoored(document: Mapping[str, Any]) -> Words:
    """A finding, with or without a hardened file."""
    target = listed(document.get("target_labels") or [])
    reacts = f"The model reacts as one that was trained to answer {target} when a hidden trigger is in the picture."
    if not document.get("output"):
        return Words(
            headline="Backdoor found, not removed",
            tone="found",
            done=f"{reacts} No cut that weakens the backdoor stayed within the allowed loss of accuracy, so no file was written.",
            means=(
                "Do not deploy this model. Get it anew from a source that you trust, allow a larger loss of accuracy, or give more images.",
            ),
            limits=LIMITS,
        )
    return Words(
        headline="Backdoor found and pruned",
        tone="found",
        done=f"{reacts} {pruned(document)}",
        means=(
            f"Whoever trained this model, or supplied its training data, could most likely make it answer {target} at will.",
            "In the hardened file the channels that carry this behaviour are constant; but for the declared edits it is the original.",
        ),
        limits=(*asr_limits(document), *LIMITS, "Training the hardened model further may bring a backdoor back: harden again afterwards."),
    )


def asr_limits(document: Mapping[str, Any]) -> tuple[str, ...]:
    """How far the removal itself was measured."""
    if document.get("attack_success"):
        return ("Attack success was measured with the trigger given; it played no part in any decision.",)
    return ("Attack success was not measured: that needs the true trigger. With one at hand, run rnpc eval --trigger.",)


def pruned(document: Mapping[str, Any]) -> str:
    """What was cut and what it cost, in one or two sentences."""
    cut, accuracy = document.get("pruned") or {}, document.get("accuracy") or {}
    done = f"{count(int(cut.get('channels', 0)), 'channel')} of {int(cut.get('of', 0)):,} were made constant"
    if accuracy.get("before") is None or accuracy.get("after") is None:
        return done + "."
    images = count(int(accuracy.get("images", 0)), "image")
    return f"{done}; on {images} accuracy went from {percent(accuracy['before'])} to {percent(accuracy['after'])}."


def clean() -> Words:
    """No finding; the output is the input."""
    return Words(
        headline="No backdoor found",
        tone="clean",
        done="Nothing in this model stands out as a backdoor does. It was left alone: the output is the input, byte for byte.",
        means=("No label is reached by an abnormally cheap trigger, as far as the clean images show.",),
        limits=LIMITS,
    )


def inconclusive() -> Words:
    """Too little to decide; nothing was written."""
    return Words(
        headline="Inconclusive",
        tone="open",
        done="The images given do not carry a decision either way. Nothing was written.",
        means=("Treat the model as unchecked. More clean images, evenly spread over the classes, are the most likely remedy.",),
        limits=LIMITS,
    )


def forced(document: Mapping[str, Any]) -> Words:
    """Pruning without a verdict."""
    return Words(
        headline="Pruned without a verdict",
        tone="open",
        done=f"Pruning was asked for whatever the evidence. {pruned(document)}",
        means=("This says nothing on whether the original was backdoored.",),
        limits=(*asr_limits(document), *LIMITS),
    )
