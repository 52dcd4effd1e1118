"""Random classifiers that mix the operators of the removal, and random plans for them.

`whole`: weights are small integers and all functions are exact in binary, so that sums do not depend on their order and outputs can be
compared bit by bit. Doubles are for onnx's reference, whose BatchNormalization before opset 14 is wrong; floats are for onnxruntime.
Otherwise weights are drawn from a normal distribution, and the curved functions and normalisations take part too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.passes.facts.sites import find_sites
from rnpc.plan import Silence, silence

SIZE = 8


class Maker:
    """A graph being built: `value`, [N, channels, size, size], is its last value."""

    def __init__(self, seed: int, whole: bool, kind: type = np.float64) -> None:
        self.rng, self.whole, self.kind = np.random.default_rng(seed), whole, kind
        self.opset = int(self.rng.choice([15, 18, 21, 21] if kind is np.float64 else [11, 13, 17, 21]))
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.value, self.channels, self.size, self.count = "x", 3, SIZE, 0

    def node(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output, its others follow with a letter."""
        self.count += 1
        name = f"v{self.count}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=f"n{self.count}", **attributes))
        return name

    def store(self, array: np.ndarray) -> str:
        """A stored tensor: an initializer, a Constant node, or one behind Identity."""
        self.count += 1
        name, way = f"t{self.count}", self.rng.integers(12)
        tensor = numpy_helper.from_array(np.asarray(array), name)
        if way == 0:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.tensors.append(tensor)
        return self.node("Identity", name) if way == 1 else name

    def draw(self, *shape: int) -> np.ndarray:
        """Weights."""
        if self.whole:
            return self.rng.choice([-1, 0, 1], shape, p=[0.3, 0.3, 0.4]).astype(self.kind)
        return (self.rng.normal(size=shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(self.kind)

    def factors(self, *shape: int) -> np.ndarray:
        """Factors that are not zero; powers of two where sums have to be exact."""
        values = self.rng.choice([0.5, 1, 2, -1], shape) if self.whole else self.rng.uniform(0.5, 1.5, shape)
        return np.asarray(values).astype(self.kind)

    def pick(self, *ways: Callable[[], None]) -> None:
        """One of these."""
        ways[int(self.rng.integers(len(ways)))]()

    # layers

    def conv(self, out: int | None = None, groups: int = 1, kernel: int | None = None, quantised: bool = False) -> None:
        """A convolution of the same size, or one without padding where the image is large enough."""
        out = out or int(self.rng.integers(4, 9))
        kernel = kernel or int(self.rng.choice([1, 3]))
        pad = kernel // 2 if self.size < 5 or self.rng.random() < 0.7 else 0
        array = self.draw(out, self.channels // groups, kernel, kernel)
        weight = self.quantised(array) if quantised else self.store(array)
        inputs = [self.value, weight] + ([self.store(self.draw(out))] if self.rng.random() < 0.6 else [])
        self.value = self.node("Conv", *inputs, kernel_shape=[kernel] * 2, pads=[pad] * 4, group=groups)
        self.channels, self.size = out, self.size + 2 * pad - kernel + 1

    def quantised(self, array: np.ndarray) -> str:
        """int8 weights behind a DequantizeLinear with a scale for each output, or for each input."""
        axis = int(self.rng.integers(2))
        scale = np.full(array.shape[axis], 0.5 if self.whole else 0.01, np.float32)
        stored = np.clip(np.rint(array / scale[0]), -127, 127).astype(np.int8)
        extra = {"axis": axis} if self.opset >= 13 else {}
        scales, zeros = (scale, np.zeros(len(scale), np.int8)) if extra else (scale[0], np.int8(0))
        return self.node("Cast", self.node("DequantizeLinear", *map(self.store, (stored, scales, zeros)), **extra), to=self.onnx_kind)

    @property
    def onnx_kind(self) -> int:
        """Number of the float type."""
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(self.kind)))

    def norm(self) -> None:
        """BatchNormalization; variances of one where sums have to be exact."""
        c = self.channels
        var = np.ones(c) if self.whole else self.rng.uniform(0.5, 2, c)
        names = [self.store(a) for a in (self.factors(c), self.draw(c), self.draw(c), var.astype(self.kind))]
        self.value = self.node("BatchNormalization", self.value, *names, epsilon=0.0 if self.whole else 1e-5)

    def act(self) -> None:
        """An activation."""
        exact = [lambda: self.node("Relu", self.value), self.clip, lambda: self.node("LeakyRelu", self.value, alpha=0.5), self.prelu]
        curved = [partial(self.unary, op) for op in ("Sigmoid", "Tanh", "HardSigmoid", "Elu", "Softplus", "Identity")]
        ways = exact if self.whole else exact + curved
        self.value = ways[int(self.rng.integers(len(ways)))]()

    def unary(self, op_type: str) -> str:
        """A function of every entry."""
        return self.node(op_type, self.value)

    def clip(self) -> str:
        """Clip to [0, 6] or [-4, 4]; bounds are inputs from opset 11 on."""
        low, high = ((0, 6), (-4, 4))[int(self.rng.integers(2))]
        return self.node("Clip", self.value, self.store(np.array(low, self.kind)), self.store(np.array(high, self.kind)))

    def prelu(self) -> str:
        """PRelu with a slope for each channel, or one for all."""
        return self.node("PRelu", self.value, self.store(self.factors(*((self.channels, 1, 1) if self.rng.random() < 0.7 else (1,)))))

    # blocks

    def plain(self) -> None:
        """Convolution, BatchNormalization or not, activation."""
        self.conv()
        if self.rng.random() < 0.5:
            self.norm()
        self.act()

    def residual(self) -> None:
        """Two convolutions and a sum."""
        start, channels, size = self.value, self.channels, self.size
        self.conv(kernel=1)
        self.act()
        self.conv(out=channels, kernel=1)
        if self.rng.random() < 0.5:
            self.norm()
        if self.size == size:
            self.value = self.node("Add", *((self.value, start) if self.rng.random() < 0.5 else (start, self.value)))
        self.act()

    def dense(self) -> None:
        """A branch set beside its input."""
        start, channels = self.value, self.channels
        if self.rng.random() < 0.5:
            self.norm()
            self.act()
        self.conv(kernel=1)
        self.value, self.channels = self.node("Concat", start, self.value, axis=1), channels + self.channels

    def halves(self) -> None:
        """Split, one part convolved, set side by side again."""
        if self.channels < 4:
            return
        first = self.channels // 2 if self.channels % 2 == 0 and self.rng.random() < 0.6 else int(self.rng.integers(1, self.channels))
        parts = [first, self.channels - first]
        if self.opset < 13:
            one = self.node("Split", self.value, outputs=2, axis=1, **({} if parts[0] == parts[1] else {"split": parts}))
        elif self.opset >= 18 and parts[0] == parts[1]:
            one = self.node("Split", self.value, outputs=2, axis=1, num_outputs=2)
        else:
            one = self.node("Split", self.value, self.store(np.array(parts, np.int64)), outputs=2, axis=1)
        self.value, self.channels = f"{one}_1", parts[1]
        self.conv(kernel=1)
        self.value, self.channels = self.node("Concat", one, self.value, axis=1), parts[0] + self.channels

    def grouped(self) -> None:
        """A convolution to 8 channels, one in groups, one depthwise or not."""
        self.conv(out=8)
        self.act()
        self.conv(out=int(self.rng.choice([8, 4])), groups=int(self.rng.choice([2, 4])))
        self.act()

    def depthwise(self) -> None:
        """Expand, depthwise (with one or two outputs a channel), project."""
        self.conv(out=6, kernel=1)
        self.act()
        self.conv(out=6 * int(self.rng.integers(1, 3)), groups=6)
        self.act()
        self.conv(kernel=1)

    def excite(self) -> None:
        """Squeeze-excite: a factor for each channel, from the means."""
        start, channels, size = self.value, self.channels, self.size
        self.value = self.node("GlobalMaxPool" if self.whole else "GlobalAveragePool", self.value)
        self.conv(out=4, kernel=1)
        self.value, self.size = self.node("Relu", self.value), size
        self.conv(out=channels, kernel=1)
        self.value = self.clip() if self.whole else self.node("Sigmoid", self.value)
        self.value, self.size = self.node("Mul", start, self.value), size

    def shuffle(self) -> None:
        """Reshape, Transpose, Reshape."""
        if self.channels % 2:
            return
        c, s, lead = self.channels, self.size, int(self.rng.choice([0, -1]))
        self.value = self.node("Reshape", self.value, self.store(np.array([lead, 2, c // 2, s, s], np.int64)))
        self.value = self.node("Transpose", self.value, perm=[0, 2, 1, 3, 4])
        self.value = self.node("Reshape", self.value, self.store(np.array([0, c, s, s] if lead else [0, -1, s, s], np.int64)))

    def stored(self) -> None:
        """A stored number for each channel, or one for all."""
        op_type = str(self.rng.choice(["Add", "Sub", "Mul", "Div"]))
        shape = [(self.channels, 1, 1), (1, self.channels, 1, 1), ()][int(self.rng.integers(3))]
        other = self.store(self.factors(*shape))
        inputs = (self.value, other) if op_type == "Div" or self.rng.random() < 0.5 else (other, self.value)
        self.value = self.node(op_type, *inputs)

    def pool(self) -> None:
        """A window of two, padded or not."""
        if self.size < 4 or self.size % 2:
            return
        pads = {} if self.rng.random() < 0.5 else {"pads": [0, 0, 0, 0] if self.size < 4 else [1, 1, 1, 1]}
        average = self.rng.random() < 0.5
        extra = {"count_include_pad": 1} if average and (self.whole or self.rng.random() < 0.5) else {}
        self.value = self.node("AveragePool" if average else "MaxPool", self.value, kernel_shape=[2, 2], strides=[2, 2], **pads, **extra)
        self.size = self.size // 2 + bool(pads)

    def order(self) -> None:
        """Channels in another order, or the first of them."""
        if self.rng.random() < 0.5:
            self.value = self.node("Gather", self.value, self.store(self.rng.permutation(self.channels).astype(np.int64)), axis=1)
        elif self.channels > 3:
            start, end = int(self.rng.integers(2)), int(self.rng.choice([-1, 2**40]))
            names = [self.store(np.array([v], np.int64)) for v in (start, end, 1)]
            self.value = self.node("Slice", self.value, *names)
            self.channels -= start + (end == -1)

    def border(self) -> None:
        """Pad by a number, by reflection, or not at all; grow by neighbours."""
        if self.size > 6:
            return
        mode, pads = str(self.rng.choice(["constant", "edge"])), np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64)
        fill = [self.store(np.array(self.rng.integers(2), self.kind))] if mode == "constant" else []
        self.value = self.node("Pad", self.value, self.store(pads), *fill, mode=mode)
        self.size += 1

    def transposed(self) -> None:
        """A transposed convolution, in groups or not."""
        groups = 1  # the reference gets groups wrong; tests/.../test_remove.py has them
        out = int(self.rng.integers(2, 4)) * groups
        names = [self.store(self.draw(self.channels, out // groups, 1, 1))] + (
            [self.store(self.draw(out))] if self.rng.random() < 0.5 else []
        )
        self.value, self.channels = self.node("ConvTranspose", self.value, *names, group=groups), out

    def shared(self) -> None:
        """One weight that two convolutions read."""
        out = int(self.rng.integers(4, 7))
        weight, bias = self.store(self.draw(out, self.channels, 1, 1)), self.store(self.draw(out))
        one, two = (self.node("Conv", self.value, weight, bias) for _ in range(2))
        one = self.node("Relu", one)
        self.value, self.channels = self.node("Concat", one, two, axis=1), 2 * out

    def qdq(self) -> None:
        """Activations to integers and back, with a scale for all or one for each channel; then int8 weights."""
        if self.kind is np.float64 and self.opset < 19:  # the reference knows no older ones
            return
        c, each = self.channels, self.kind is np.float64 and self.rng.random() < 0.5
        scale = np.full(c, 0.5, np.float32) if each else np.float32(0.5)
        zero = np.full(c, 3, np.uint8) if each else np.uint8(3)
        extra = {"axis": 1} if each else {}
        value = self.node("Cast", self.value, to=TensorProto.FLOAT)
        sides = [self.store(np.asarray(a)) for a in (scale, zero)]
        value = self.node("DequantizeLinear", self.node("QuantizeLinear", value, *sides, **extra), *sides, **extra)
        self.value = self.node("Cast", value, to=self.onnx_kind)
        self.conv(quantised=True)
        self.norm()

    def groups_of_norm(self) -> None:
        """InstanceNormalization, or the GroupNormalization of opset 21."""
        if self.whole:
            return
        params = [self.store(self.factors(self.channels)), self.store(self.draw(self.channels))]
        if self.opset >= 21 and self.channels % 2 == 0:
            self.value = self.node("GroupNormalization", self.value, *params, num_groups=2)
        else:
            self.value = self.node("InstanceNormalization", self.value, *params)

    def opaque(self) -> None:
        """An operator without a rule."""
        if self.channels % 4 == 0 and self.size <= 4:
            self.value = self.node("DepthToSpace", self.value, blocksize=2)
            self.channels, self.size = self.channels // 4, self.size * 2

    # heads

    def head(self) -> None:
        """From an image to 5 scores."""
        self.pick(self.pooled, self.flat, self.tokens)

    def pooled(self) -> None:
        """The mean of each channel, a hidden layer, scores."""
        self.value = self.node("GlobalMaxPool" if self.whole else "GlobalAveragePool", self.value)
        self.value = self.node("Flatten", self.value)
        self.linear(6)
        self.act_flat()
        self.linear(5)

    def flat(self) -> None:
        """All entries, a hidden layer, scores."""
        target = self.store(np.array([-1, self.channels * self.size**2] if self.rng.random() < 0.5 else [0, -1], np.int64))
        self.value, self.channels = self.node("Reshape", self.value, target), self.channels * self.size**2
        self.linear(6)
        self.act_flat()
        self.linear(5)

    def act_flat(self) -> None:
        """An activation behind a dense layer."""
        self.value = self.node("Relu" if self.whole or self.rng.random() < 0.5 else "Tanh", self.value)

    def linear(self, units: int) -> None:
        """A Gemm."""
        flip, bias = int(self.rng.integers(2)), self.rng.random() < 0.7
        array = self.draw(units, self.channels) if flip else self.draw(self.channels, units)
        names = [self.store(array)] + ([self.store(self.draw(units))] if bias else [])
        extra = {"alpha": 2.0, "beta": 1.0} if self.rng.random() < 0.3 else {}
        self.value, self.channels = self.node("Gemm", self.value, *names, transB=flip, **extra), units

    def tokens(self) -> None:
        """[N, positions, channels]: two units of a multilayer perceptron with a sum around them, the mean over positions, scores."""
        c = self.channels
        self.value = self.node("Reshape", self.value, self.store(np.array([0, 0, -1], np.int64)))
        self.value = start = self.node("Transpose", self.value, perm=[0, 2, 1])
        if self.opset >= 17 and not self.whole and self.rng.random() < 0.3:
            self.value = self.node("LayerNormalization", self.value, self.store(self.factors(c)), self.store(self.draw(c)), axis=-1)
        for units in (7, c):
            product = self.node("MatMul", self.value, self.store(self.draw(self.channels, units)))
            self.value, self.channels = self.node("Add", product, self.store(self.draw(units))), units
            self.value = self.node("Relu", self.value) if units == 7 else self.node("Add", self.value, start)
        self.value = self.means()
        self.linear(5)

    def means(self) -> str:
        """The extreme or mean over positions."""
        op_type = "ReduceMax" if self.whole else "ReduceMean"
        if self.opset >= 18:
            return self.node(op_type, self.value, self.store(np.array([1], np.int64)), keepdims=0)
        return self.node(op_type, self.value, axes=[1], keepdims=0)

    def finish(self) -> ModelProto:
        """The checked model, with the shapes of its values stated."""
        scores = helper.make_tensor_value_info(self.value, self.onnx_kind, ["n", 5])
        image = helper.make_tensor_value_info("x", self.onnx_kind, ["n", 3, SIZE, SIZE])
        graph = helper.make_graph(self.nodes, "random", [image], [scores], self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


BLOCKS = [
    "plain",
    "residual",
    "dense",
    "halves",
    "grouped",
    "depthwise",
    "excite",
    "shuffle",
    "stored",
    "pool",
    "order",
    "border",
    "transposed",
    "shared",
    "qdq",
    "groups_of_norm",
    "opaque",
    "norm",
    "act",
]


def random_model(seed: int, whole: bool, kind: type = np.float64) -> ModelProto:
    """A classifier of four to eight blocks."""
    maker = Maker(seed, whole, kind)
    maker.plain()
    for name in maker.rng.choice(BLOCKS, int(maker.rng.integers(4, 9))):
        getattr(maker, str(name))()
        if whole:
            maker.value = maker.clip()
    maker.head()
    return maker.finish()


def random_plan(model: ModelProto, seed: int, whole: bool) -> Silence:
    """Up to two thirds of the channels of most sites, with constants; on some seeds the same channels everywhere, so that sums go too."""
    rng = np.random.default_rng(seed)
    values, alike = dict[str, dict[int, float]](), rng.random() < 0.4
    for site in find_sites(model):
        count = int(rng.integers(0, max(2, 2 * site.channels // 3 + 1)))
        chosen = np.arange(min(count, 2, site.channels - 1)) if alike else rng.permutation(site.channels)[: min(count, site.channels - 1)]
        constants = (
            rng.choice([0, 0, 0, 1, 2, 0.5, -1], len(chosen))
            if whole
            else np.where(rng.random(len(chosen)) < 0.5, 0, rng.normal(size=len(chosen)))
        )
        values[site.value] = {int(c): float(v) for c, v in zip(chosen, constants, strict=True)}
    return silence([s for s in find_sites(model)], {name: v for name, v in values.items() if v}, "remove")
