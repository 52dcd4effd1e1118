"""Operators that treat every entry alike: y = f(x). Each channel stays by itself, and the constant c becomes f(c).

The functions are computed in float64 and rounded to the value's type. Not covered: forms in which a bound or an exponent is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rnpc.passes.facts.channels.base import RULES, Rule, Step, Stop

Function = Callable[[np.ndarray], np.ndarray]
Make = Callable[[Step], Function]


def entrywise(make: Make) -> Rule:
    """The rule of an operator whose function is made from the node's attributes."""

    def rule(step: Step) -> None:
        known = step.channels(0)
        if known is None:
            return
        with np.errstate(all="ignore"):
            values = make(step)(known.constant)
        step.straight(0, known)
        step.put(known.axis, known.ids, values)

    return rule


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return np.array([math.erf(v) for v in x], dtype=np.float64)


def hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """max(0, min(1, alpha x + beta))."""
    return np.asarray(np.clip(alpha * x + beta, 0, 1))


def gelu(step: Step) -> Function:
    """x times the normal distribution function of x, or the approximation with tanh."""
    if step.attr("approximate", b"none") == b"tanh":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))


def clip(step: Step) -> Function:
    """Clip: bounds as attributes (to version 6) or as stored inputs."""
    low, high = (bound(step, slot, name) for slot, name in ((1, "min"), (2, "max")))
    return lambda x: np.minimum(np.maximum(x, low), high)


def bound(step: Step, slot: int, name: str) -> float:
    """A bound of Clip; infinite where there is none."""
    if step.has(slot):
        return float(step.need(slot, f"the bound {name}").array.reshape(-1)[0])
    return float(step.attr(name, -math.inf if name == "min" else math.inf))


def dropout(step: Step) -> Function:
    """Dropout in evaluation: the input. Stops in training mode, and where the mask is asked for."""
    training = step.operand(2)
    if step.has(2) and (training is None or training.array.any()):
        raise Stop("it drops in training mode")
    if len([name for name in step.node.output if name]) > 1 and any(step.view.readers.get(n) for n in step.node.output[1:]):
        raise Stop("its mask is read")
    return lambda x: x


def elu(step: Step) -> Function:
    """x, or alpha (exp(x) - 1) below zero."""
    alpha = step.attr("alpha", 1.0)
    return lambda x: np.where(x > 0, x, np.where(np.isnan(x), np.nan, alpha * np.expm1(np.minimum(x, 0))))


def selu(step: Step) -> Function:
    """gamma times Elu."""
    alpha, gamma = step.attr("alpha", 1.6732631921768188), step.attr("gamma", 1.0507010221481323)
    return lambda x: gamma * np.where(x > 0, x, np.where(np.isnan(x), np.nan, alpha * np.expm1(np.minimum(x, 0))))


def leaky(step: Step) -> Function:
    """x, or alpha x below zero."""
    alpha = step.attr("alpha", 0.01)
    return lambda x: np.where(x < 0, alpha * x, x)


def hard(step: Step) -> Function:
    """HardSigmoid with its attributes."""
    alpha, beta = step.attr("alpha", 0.2), step.attr("beta", 0.5)
    return lambda x: hard_sigmoid(x, alpha, beta)


def thresholded(step: Step) -> Function:
    """x where it is above alpha, else 0."""
    alpha = step.attr("alpha", 1.0)
    return lambda x: np.where(np.isnan(x) | (x > alpha), x, 0.0)


def swish(step: Step) -> Function:
    """x sigmoid(alpha x)."""
    alpha = step.attr("alpha", 1.0)
    return lambda x: x * sigmoid(alpha * x)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.asarray(np.logaddexp(0, x))


PLAIN: dict[str, tuple[int, int, Function]] = {
    "Relu": (6, 14, lambda x: np.maximum(x, 0)),
    "Sigmoid": (6, 13, lambda x: sigmoid(x)),
    "Tanh": (6, 13, np.tanh),
    "HardSwish": (14, 22, lambda x: x * hard_sigmoid(x, float(np.float32(1 / 6)), 0.5)),
    "Softplus": (1, 22, softplus),
    "Softsign": (1, 22, lambda x: x / (1 + np.abs(x))),
    "Mish": (18, 22, lambda x: x * np.tanh(softplus(x))),
    "Erf": (9, 13, erf),
    "Exp": (6, 13, np.exp),
    "Log": (6, 13, np.log),
    "Sqrt": (6, 13, np.sqrt),
    "Abs": (6, 13, np.abs),
    "Neg": (6, 13, np.negative),
    "Floor": (6, 13, np.floor),
    "Ceil": (6, 13, np.ceil),
    "Round": (11, 22, np.rint),
    "Reciprocal": (6, 13, lambda x: 1 / x),
    "Identity": (1, 25, lambda x: x),
    "Cast": (6, 25, lambda x: x),
}
MADE: dict[str, tuple[int, int, Make]] = {
    "Clip": (6, 13, clip),
    "Dropout": (7, 22, dropout),
    "Elu": (6, 22, elu),
    "Selu": (6, 22, selu),
    "LeakyRelu": (6, 16, leaky),
    "HardSigmoid": (6, 22, hard),
    "ThresholdedRelu": (10, 22, thresholded),
    "Gelu": (20, 20, gelu),
    "Swish": (24, 24, swish),
}


def plain(function: Function) -> Make:
    """A function that no attribute changes."""
    return lambda step: function


for op_type, (first, last, function) in PLAIN.items():
    RULES.register(op_type, first, last)(entrywise(plain(function)))
for op_type, (first, last, make) in MADE.items():
    RULES.register(op_type, first, last)(entrywise(make))
