"""The user's graph without the channels that go: constants handed on, tensors cut, and every number that counts channels set right."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper

from rnpc.errors import InputRefused, RnpcError
from rnpc.passes.facts.channels.base import Linear, Number
from rnpc.passes.facts.channels.layers import added, response
from rnpc.passes.facts.channels.sizes import sizes
from rnpc.passes.facts.channels.sweep import Facts, rows_read
from rnpc.passes.facts.view import node_name
from rnpc.passes.rewrite.remove.choice import Choice, carried, folds
from rnpc.passes.rewrite.remove.tensors import Edit, Tensors, sizes_of


def rewrite(model: ModelProto, facts: Facts, choice: Choice) -> list[Edit]:
    """Take out what goes, in place. `facts` are those of this very model object. Returns the edits."""
    work = Tensors(model, facts, ~choice.gone[facts.roots])
    for index, linear in enumerate(facts.found.linears):
        absorb(work, choice, index, linear)
    for number in facts.found.numbers:
        recount(work, number)
    for k, parts in facts.found.splits:
        resplit(work, k, parts)
    for k, ids in facts.found.gathers:
        repick(work, k, ids)
    work.finish()
    restate(work)
    return work.edits


def absorb(work: Tensors, choice: Choice, index: int, linear: Linear) -> None:
    """Hand the constants that go in front of a layer to its bias, or to the weights of their carrier."""
    roots = work.facts.roots[linear.channels.ids]
    gone = choice.gone[roots] & rows_read(linear, work.facts.live[linear.output]) & (linear.channels.constant != 0)
    if not gone.any():
        return
    if folds(linear):
        fold(work, linear, np.where(gone, linear.channels.constant, 0.0))
    else:
        merge(work, choice, index, linear, np.flatnonzero(gone))


def fold(work: Tensors, linear: Linear, constant: np.ndarray) -> None:
    """bias[o] grows by the sum of weight[o, i] constant[i] over all that goes."""
    bias, node = linear.bias, work.facts.view.nodes[linear.node]
    if bias is None:
        raise RnpcError(f"{node_name(node)} has no bias", where="remove", todo="please report it")
    grown = (linear.scale * response(linear, constant)).reshape(bias.array.shape) + bias.array.astype(np.float64)
    if bias.missing:
        add_bias(work, linear, grown)
    else:
        work.write(bias.slot, held(grown, bias.array.dtype, linear, work))
    work.edits.append({"kind": "fold", "node": node_name(node), "channels": np.flatnonzero(constant).tolist()})


def held(values: np.ndarray, kind: np.dtype, linear: Linear, work: Tensors) -> np.ndarray:
    """The values in their type. Raises InputRefused where one would overflow."""
    with np.errstate(over="ignore"):
        cast = values.astype(kind)
    if not np.isfinite(cast.astype(np.float64)).all():
        where = node_name(work.facts.view.nodes[linear.node])
        raise InputRefused(f"the constants in front of {where} overflow {kind}", where="remove", todo="use mode zero, or smaller constants")
    return cast


def add_bias(work: Tensors, linear: Linear, values: np.ndarray) -> None:
    """A bias for a layer that had none, for the outputs that stay."""
    node = work.model.graph.node[linear.node]
    ids, kind = work.facts.values[linear.output].ids, linear.weight.array.dtype
    array = held(values, kind, linear, work)[work.kept[ids]]
    name = work.add(f"{linear.output}_rnpc_bias", array, helper.np_dtype_to_tensor_dtype(kind))
    while len(node.input) < 3:
        node.input.append("")
    node.input[2] = name
    work.edits.append({"kind": "add_bias", "tensor": name, "node": node_name(node), "size": len(array)})


def merge(work: Tensors, choice: Choice, index: int, linear: Linear, positions: np.ndarray) -> None:
    """weight[o, carrier] grows by constant[i] / constant[carrier] times weight[o, i]."""
    slot, constant, each = linear.weight.leaves[0].slot, linear.channels.constant, linear.reads.shape[1]
    array, into = work.read(slot).copy(), defaultdict[tuple[int, float], list[int]](list)
    for position in positions.tolist():
        root = int(work.facts.roots[linear.channels.ids[position]])
        into[carried(work.facts, choice.carriers[root], (index, position // each))].append(position)
    blocks = linear.blocks(array)
    for (carrier, value), taken in into.items():
        group, inner = carrier // each, np.array(taken) % each
        terms = np.moveaxis(blocks[group][:, inner].astype(np.float64) * (constant[taken] / value)[:, None], 1, 2)
        shares = added(terms[..., None])
        blocks[group, :, carrier % each] = held(blocks[group, :, carrier % each] + shares, array.dtype, linear, work)
    work.write(slot, linear.unblock(blocks, array.shape))
    node = node_name(work.facts.view.nodes[linear.node])
    work.edits.extend({"kind": "merge", "node": node, "channel": c, "channels": taken} for (c, _), taken in sorted(into.items()))


def count(work: Tensors, ids: np.ndarray) -> int:
    """How many ids, or rows of ids, are left."""
    stays = work.kept[ids]
    return int(stays.sum() if stays.ndim == 1 else stays.any(axis=1).sum())


def recount(work: Tensors, number: Number) -> None:
    """Set a number that counts channels."""
    if work.kept[number.ids if number.among is None else number.among].all():
        return
    node, value = work.model.graph.node[number.node], count(work, number.ids)
    if number.name:
        attribute = next(a for a in node.attribute if a.name == number.name)
        if attribute.i != value:
            work.edits.append({"kind": "attribute", "node": node_name(node), "name": number.name, "before": attribute.i, "after": value})
            attribute.i = value
        return
    array = work.read((number.node, number.slot)).copy()
    array.reshape(-1)[number.index] = value
    work.write((number.node, number.slot), array)


def resplit(work: Tensors, k: int, parts: tuple[np.ndarray, ...]) -> None:
    """The sizes of a Split: an input, an attribute, or equal ones by default, which are stated where they are no longer equal."""
    if all(work.kept[ids].all() for ids in parts):
        return
    node, left = work.model.graph.node[k], [count(work, ids) for ids in parts]
    if len(node.input) > 1 and node.input[1]:
        work.write((k, 1), np.array(left, dtype=np.int64))
        return
    stated = next((a for a in node.attribute if a.name == "split"), None)
    if stated is None and by_default(left, sum(left), work.facts.view.opset):
        return
    if work.facts.view.opset < 13:
        if stated is None:
            stated = node.attribute.add(name="split", type=AttributeProto.INTS)
        stated.ints[:] = left
    else:
        for entry in [a for a in node.attribute if a.name == "num_outputs"]:
            node.attribute.remove(entry)
        name = work.add(f"{node.output[0]}_rnpc_sizes", np.array(left, dtype=np.int64), TensorProto.INT64)
        del node.input[1:]
        node.input.append(name)
    work.edits.append({"kind": "split", "node": node_name(node), "after": left})


def by_default(left: list[int], total: int, opset: int) -> bool:
    """Whether a Split without sizes gives just these: equal ones, and from opset 18 on the last may be smaller."""
    size = -(-total // len(left))
    last = total - size * (len(left) - 1)
    return all(n == size for n in left[:-1]) and left[-1] == last > 0 and (last == size or opset >= 18)


def repick(work: Tensors, k: int, ids: np.ndarray) -> None:
    """The indices of a Gather of channels, counted anew."""
    stays = work.kept[ids]
    if stays.all():
        return
    ranks, slot = np.cumsum(stays) - 1, (k, 1)
    array = work.read(slot)
    work.write(slot, ranks[array.astype(np.int64) % len(ids)])


def restate(work: Tensors) -> None:
    """Sizes that the file states for values and tensors; an entry whose size varies from group to group is dropped."""
    sized: dict[str, dict[int, int]] = defaultdict(dict)
    for name, axis, ids in work.facts.found.shaped:
        if not work.kept[ids].all():
            sized[name][axis] = count(work, ids)
    graph = work.model.graph
    for info in [info for info in graph.value_info if -1 in sized.get(info.name, {})]:
        graph.value_info.remove(info)
    for info in (*graph.value_info, *graph.input):
        if info.name in work.resized:
            sizes_of(info, work.resized[info.name])
        dims = info.type.tensor_type.shape.dim
        for axis, size in sized.get(info.name, {}).items():
            if axis < len(dims) and dims[axis].HasField("dim_value"):
                dims[axis].dim_value = size


def check(model: ModelProto, facts: Facts, choice: Choice) -> None:
    """Infer all shapes anew. Raises RnpcError (a defect) where a value has not the channels that it should have."""
    found, _ = sizes(model)
    for name, known in facts.values.items():
        left = int((~choice.gone[facts.roots[known.ids]]).sum())
        if name in found and found[name][known.axis] != left:
            raise RnpcError(
                f"{name} has {found[name][known.axis]} channels where {left} are left",
                where="remove",
                todo="use mode zero, and please report it",
            )
