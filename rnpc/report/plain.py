"""Dataclasses, arrays and numbers as JSON knows them.

Numbers keep seven significant digits, nan and infinity are null, and a picture [C, H, W] is the base64 of its little-endian float32, so
that the same values give the same text.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def plain_value(value: Any, exact: bool = False) -> Any:
    """`value` as JSON knows it, floats to seven digits unless `exact`.

    Raises TypeError for anything that is neither a number, text, array, mapping, sequence nor dataclass.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return rounded(value, exact)
    if isinstance(value, np.ndarray):
        return picture(value) if value.ndim == 3 else plain_value(value.tolist(), exact)
    if isinstance(value, np.generic):
        return plain_value(value.item(), exact)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_value(getattr(value, f.name), exact) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain_value(v, exact) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(v, exact) for v in value]
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def rounded(value: float, exact: bool) -> float | None:
    """A number to seven significant digits unless `exact`; None for what is not finite."""
    if not math.isfinite(value):
        return None
    return float(value) if exact else float(f"{value:.7g}")


def picture(array: np.ndarray) -> dict[str, Any]:
    """A float picture [C, H, W] as shape, type and base64 of its bytes."""
    raw = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(raw.shape), "dtype": "float32", "base64": base64.b64encode(raw.tobytes()).decode()}
