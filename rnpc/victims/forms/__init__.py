"""Forms: the ways in which one network can be written as ONNX, by name.

`rewrite` takes the folded file of any victim and gives it in another form; `write` starts from the module, which `folded`, `batchnorm`
and the two of the older exporter need. A new form is one function and one entry in its family's `FORMS`.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from rnpc.errors import UsageError
from rnpc.victims.forms import exports, functions, half, head, inputs, int8, layout, order, storage, tails
from rnpc.victims.forms.base import Files, Form, Given, Shape, finish, parsed

FAMILIES = (exports, half, int8, layout, inputs, storage, functions, tails, head, order)
FORMS: dict[str, Form] = {form.name: form for family in FAMILIES for form in family.FORMS}

__all__ = ["FORMS", "Files", "Form", "Given", "files", "find", "names", "rewrite", "write"]


def names() -> tuple[str, ...]:
    """The names that `find` knows."""
    return tuple(FORMS)


def find(name: str) -> Form:
    """The form of that name. Raises UsageError with the list."""
    if name not in FORMS:
        raise UsageError("no such form", where=name, todo=f"choose one of {', '.join(names())}")
    return FORMS[name]


def rewrite(folded: bytes, name: str, calibration: np.ndarray | None = None, given: Given | None = None) -> bytes:
    """A folded file in another form.

    Args:
        folded: ONNX bytes as `export.network` folds them.
        name: a form that is one file and needs no module.
        calibration: model input, float32 [n, C, H, W], for the forms of eight bits.
        given: the same and the preprocessing, for `uint8`; `calibration` goes before its images.

    Raises:
        UsageError: an unknown form, one that needs the module or a second file, or images that are missing.
        InputRefused: the network has nothing that this form could write otherwise.
    """
    if find(name).outside:
        raise UsageError("it is two files", where=name, todo="call rnpc.victims.forms.files")
    given = given or Given()
    if calibration is not None:
        given = Given(calibration, given.mean, given.std, given.scale)
    return next(iter(files(folded, name, given).values()))


def files(folded: bytes, name: str, given: Given | None = None, file: str = "model.onnx") -> Files:
    """As `rewrite`, for every form that needs no module: `file` and, where weights lie outside, `file`.data."""
    form = find(name)
    if name == "folded":
        return {file: folded}
    if form.rewrite is None:
        raise UsageError("only an exporter can make it", where=name, todo="call rnpc.victims.forms.write with the network")
    model = form.rewrite(parsed(folded), given or Given())
    if not form.outside:
        return {file: finish(model, form)}
    data = storage.split(model, f"{file}.data")
    # onnx.checker would look for the second file, which is not there yet.
    return {file: bytes(model.SerializeToString(deterministic=True)), f"{file}.data": data}


def write(module: nn.Module, shape: Shape, name: str, given: Given | None = None, file: str = "model.onnx") -> Files:
    """A network (in eval mode from now on) for images of shape [C, H, W] in any form; errors as in `rewrite`."""
    form = find(name)
    if form.export is not None:
        return {file: form.export(module, shape)}
    return files(exports.folded(module, shape), name, given, file)
