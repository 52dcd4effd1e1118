"""docs/conformance.md: onnx's own node tests, run through the twin. `python -m rnpc.twin.conformance docs/conformance.md` writes it.

A case counts where all of its operators are known (by the registry, or to `passes.canonical.quantised`, which rewrites them). It runs
twice: with all inputs fed, and with all but the first written into the graph, which takes the path of known constants. It is right where
every output has the shape, the type and the values of the case, to within its own tolerance and 1e-5, in each way that is not refused.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from rnpc.errors import UnsupportedOperator
from rnpc.passes.canonical.qforms import FORMS, INTEGER, quantised
from rnpc.registry import OPSETS, canonical
from rnpc.twin.build import build
from rnpc.twin.node import OPERATORS, host

BFLOAT16 = "bfloat16 in, coarser than the twin's float32"
EXCLUDED = {
    "test_attention_3d_causal_bf16": BFLOAT16,
    "test_attention_4d_causal_bf16": BFLOAT16,
    "test_attention_4d_attn_mask_causal_bf16": BFLOAT16,
    "test_attention_4d_padded_kv_bf16": BFLOAT16,
    "test_attention_4d_causal_padded_kv_bf16": BFLOAT16,
    "test_celu_bfloat16": BFLOAT16,
    "test_reduce_max_empty_set": "the largest of nothing: torch raises",
    "test_reduce_min_empty_set": "the smallest of nothing: torch raises",
    "test_resize_downsample_scales_linear_align_corners": "onnxruntime divides by the whole output size, as the twin does",
    "test_resize_downsample_scales_cubic_align_corners": "onnxruntime divides by the whole output size, as the twin does",
}
"""Prefix of a case's name -> why it is left out."""


@dataclass(frozen=True)
class Result:
    """One case: its operators, the opset it is pinned to, in how many ways it was right, what was wrong, which forms were refused.

    `reason` says why a case was not run at all; empty where it was.
    """

    name: str
    operators: frozenset[str]
    opset: int
    reason: str = ""
    right: int = 0
    wrong: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def survey() -> list[Result]:
    """All of onnx's node tests; takes ten seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return [judge(case) for case in load_model_tests(kind="node")]


def judge(case: Any) -> Result:
    """Run one case, or say why not."""
    model = as_read(case.model)
    operators, pinned = frozenset(node.op_type for node in model.graph.node), opset(case.model)
    reason = unfit(case, model)
    if reason:
        return Result(case.name, operators, pinned, reason)
    right, wrong, refused = 0, [], []
    for inputs, outputs in case.data_sets:
        for form, proto, feeds in (("fed", model, inputs), ("written", written(model, inputs), inputs[:1])):
            try:
                found = differs(proto, feeds, outputs, case.rtol)
            except UnsupportedOperator as error:
                refused += [op for _, _, op, _ in error.nodes]
                continue
            right += found is None
            wrong += [f"{case.name} ({form}): {found}"] if found else []
    return Result(case.name, operators, pinned, "", right, tuple(wrong), tuple(refused))


def opset(model: ModelProto) -> int:
    """Version of the default operator set; 0 where there is none."""
    return next((o.version for o in model.opset_import if canonical(o.domain) == ""), 0)


def as_read(model: ModelProto) -> ModelProto:
    """Cases of a newer opset are read as the newest that rnpc knows: their operators changed by the types they take."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        if canonical(entry.domain) == "" and entry.version > OPSETS[-1]:
            entry.version = OPSETS[-1]
    return copy


def unfit(case: Any, model: ModelProto) -> str:
    """Why a case is not run; empty where it is."""
    if unknown := sorted({n.op_type for n in model.graph.node if not known(n, opset(model))}):
        return f"operator not supported: {', '.join(unknown)}"
    if opset(model) not in OPSETS:
        return f"opset below {OPSETS[0]}"
    if not all(tensors(i) and tensors(o) for i, o in case.data_sets):
        return "sequences, optionals or text"
    return next((reason for prefix, reason in EXCLUDED.items() if case.name.startswith(prefix)), "")


def known(node: onnx.NodeProto, version: int) -> bool:
    """Whether a node's operator is in the registry or rewritten before a twin is built."""
    domain = canonical(node.domain)
    rewritten = (domain, node.op_type) in FORMS or (domain == "" and node.op_type in INTEGER)
    return rewritten or OPERATORS.find(node.op_type, version, domain) is not None


def tensors(values: Any) -> bool:
    """Whether all values are numeric tensors."""
    return all(isinstance(v, np.ndarray | np.generic) and v.dtype.kind != "O" for v in values)


def written(model: ModelProto, inputs: list[np.ndarray]) -> ModelProto:
    """The model with all inputs but the first as initializers."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for info, value in list(zip(model.graph.input, inputs, strict=True))[1:]:
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
    return copy


def differs(model: ModelProto, feeds: list[np.ndarray], expected: list[np.ndarray], rtol: float) -> str | None:
    """What is wrong with the twin's outputs, or None. Codes of quantised values are whole numbers in float32 there."""
    try:
        found, _ = build(model).evaluate([host(np.asarray(v)) for v in feeds])
    except UnsupportedOperator:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    codes = quantised(model)
    for got, want in zip(found, expected, strict=True):
        value, wish = got.detach().numpy(), host(np.asarray(want)).numpy()
        if value.shape != wish.shape or not (value.dtype == wish.dtype or (codes and value.dtype == np.float32)):
            return f"{value.dtype}{value.shape}, expected {wish.dtype}{wish.shape}"
        if not np.allclose(value, wish, rtol=rtol, atol=1e-5, equal_nan=True):
            return f"off by {np.nanmax(np.abs(value.astype(float) - wish.astype(float)))}"
    return None


def markdown(results: list[Result]) -> str:
    """The whole page."""
    run = [r for r in results if not r.reason]
    concerned = [r for r in results if not r.reason.startswith(("operator", "opset", "sequences"))]
    old = sum(r.opset <= OPSETS[-1] for r in concerned)
    right = sum(not r.wrong and r.right > 0 for r in run)
    wrong, newest = sum(bool(r.wrong) for r in run), OPSETS[-1]
    head = f"""# Conformance

The node tests of onnx {onnx.__version__}, run through the twin; made by `python -m rnpc.twin.conformance docs/conformance.md`.
Of {len(results)} cases {len(concerned)} have supported operators only, {old} of them pinned to opset {newest} or below (the others
are read as {newest}). **{right} are right, {wrong} wrong**; the rest is left out for the reasons below. A case runs with all inputs
fed and again with all but the first stored in the graph.

Versions that no node test has any more are held by the cases of `tests/twin/test_versions.py`, against onnxruntime.
"""
    reasons = (f"| {reason} | {count} |" for reason, count in _reasons(results))
    return "\n".join([head, *_table(concerned), "", "## Left out", "", "| reason | cases |", "| --- | --- |", *reasons, ""])


def _table(concerned: list[Result]) -> Iterator[str]:
    """A row an operator: opsets that its cases are pinned to, cases, how many are right, how many are refused or left out."""
    yield "| operator | opsets | cases | right | left out |"
    yield "| --- | --- | --- | --- | --- |"
    rows: dict[str, list[Result]] = defaultdict(list)
    for result in concerned:
        for operator in result.operators:
            rows[operator].append(result)
    for operator in sorted(rows):
        cases = rows[operator]
        pins, right = sorted({r.opset for r in cases}), sum(r.right > 0 and not r.wrong for r in cases)
        yield f"| {operator} | {', '.join(map(str, pins))} | {len(cases)} | {right} | {len(cases) - right} |"


def _reasons(results: list[Result]) -> Iterator[tuple[str, int]]:
    """Why cases were not run, or only refused; unsupported operators as one."""
    count: Counter[str] = Counter()
    for result in results:
        if result.reason:
            count["operator not supported" if result.reason.startswith("operator") else result.reason] += 1
        elif not result.right and result.refused:
            count[f"refused by name: {result.refused[0]}"] += 1
    yield from sorted(count.items())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(survey()), encoding="utf-8")
