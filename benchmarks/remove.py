"""Taking channels out of a graph: is it exact over many random graphs, and how long does it take?

    python benchmarks/remove.py [--graphs 300] [--seed 0] [--threads 1] [--model FILE ...] [--skip-speed]

Exactness: random graphs that mix convolutions (plain, grouped, depthwise, transposed), sums, Concat, Split, shuffles, squeeze-excite,
stored numbers, pooling, padding, quantisation, normalisations and dense heads, with random plans
(tests/passes/rewrite/remove/graphs.py). The zeroed and the removed graph are compared in three ways: small whole numbers in doubles,
where outputs have to be equal to the bit (or 1e-12 where a constant was divided); normal weights in doubles, 1e-10 of the largest
output; normal weights in floats by onnxruntime, 1e-4.

Speed: seconds of analysis and of the whole removal (30 % of the channels of every site) for a ResNet-50, for chains of 100, 1,000 and
10,000 nodes, and for `--model`s; the best of three. Then `rnpc verify` of the ResNet-50, zeroed and removed, and `--help`, as whole
processes. The load of the machine is printed too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rnpc.passes.facts.channels import analyse
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.remove import remove
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.plan import Mode, Plan, Silence, silence

GRAPHS = Path(__file__).parent.parent / "tests" / "passes" / "rewrite" / "remove" / "graphs.py"


def main() -> None:
    """Measure and print; exit 1 where a graph differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", type=Path, nargs="*", default=[])
    parser.add_argument("--skip-speed", action="store_true")
    options = parser.parse_args()
    graphs = load()
    failed = sum([exactness(graphs, way, options) for way in ("whole", "double", "float")])
    if not options.skip_speed:
        speed(options.model)
    sys.exit(1 if failed else 0)


def load() -> ModuleType:
    """The module that draws graphs and plans."""
    spec = importlib.util.spec_from_file_location("remove_graphs", GRAPHS)
    if spec is None or spec.loader is None:
        sys.exit(f"{GRAPHS} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exactness(graphs: ModuleType, way: str, options: argparse.Namespace) -> int:
    """Compare in one way over all seeds; the number of graphs that differ."""
    count, failed, worst, equal = Counter[str](), 0, 0.0, 0
    for seed in range(options.seed, options.seed + options.graphs):
        model = graphs.random_model(seed, way == "whole", np.float32 if way == "float" else np.float64)
        plan = graphs.random_plan(model, seed, way == "whole")
        source = model.SerializeToString()
        removed = remove(source, onnx.load_from_string(source), plan)
        onnx.checker.check_model(onnx.load_from_string(removed.data), full_check=True)
        error = difference(write_zeros(source, model, plan.sites).data, removed.data, way, seed, options.threads)
        merged = any(edit["kind"] == "merge" for edit in removed.edits)
        bound = {"whole": 1e-12 if merged else 0.0, "double": 1e-10, "float": 1e-4}[way]
        if error > bound:
            failed += 1
            print(f"seed {seed}, {way}: outputs differ by {error:.3g} of the largest, allowed is {bound:g}")
        worst, equal = max(worst, error), equal + (error == 0)
        planned = sum(len(site.channels) for site in plan.sites)
        count.update({"planned": planned, "gone": planned - len(removed.kept), "nodes": len(model.graph.node)})
        count.update(edit["kind"] for edit in removed.edits)
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(count.items()) if kind not in ("planned", "gone", "nodes"))
    print(f"{way}: {options.graphs} graphs of {count['nodes']} nodes, {failed} failed, {equal} bit-equal, differences up to {worst:.2g}")
    print(f"    {count['gone']} of {count['planned']} planned channels went; edits: {kinds}")
    return failed


def difference(zeroed: bytes, removed: bytes, way: str, seed: int, threads: int) -> float:
    """Largest difference of the outputs, relative to the largest output."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (2, 3, 8, 8)).astype(np.float64) if way == "whole" else rng.normal(size=(2, 3, 8, 8))
    one, two = (scores(data, x, way, threads) for data in (zeroed, removed))
    return float(np.abs(one - two).max() / max(np.abs(one).max(), np.finfo(np.float32).tiny))


def scores(data: bytes, x: np.ndarray, way: str, threads: int) -> np.ndarray:
    """The model's output, by onnxruntime for floats and by onnx's reference for doubles."""
    if way != "float":
        return np.asarray(ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": x})[0])
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 4
    session = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x.astype(np.float32)})[0], dtype=np.float64)


# speed


def speed(models: list[Path]) -> None:
    """Seconds, and how they grow."""
    print(f"load average {os.getloadavg()[0]:.1f}")
    named = [("ResNet-50", network(resnet50()))]
    named += [(path.name, onnx.load(path)) for path in models]
    for name, model in named:
        timed(name, model)
    before: tuple[float, float] | None = None
    for nodes in (100, 1_000, 10_000):
        took = timed(f"chain of {nodes:,} nodes", network(chain(nodes)))
        if before is not None:
            print(f"    ten times the nodes: analysis {took[0] / before[0]:.1f} times, removal {took[1] / before[1]:.1f} times the seconds")
        before = took
    commands(network(resnet50()))


def commands(model: ModelProto) -> None:
    """Seconds of whole processes, best of three."""
    source, edit = model.SerializeToString(), thirty_percent(model)
    plan = Plan("hand", 0, hashlib.sha256(source).hexdigest(), "", edit)
    with tempfile.TemporaryDirectory() as place:
        original = Path(place) / "model.onnx"
        original.write_bytes(source)
        for mode in get_args(Mode):
            made = Path(place) / f"{mode}.onnx"
            made.write_bytes(apply(source, plan, mode=mode).data)
            print(f"rnpc verify, ResNet-50 ({mode}): {process('verify', str(original), str(made)):.2f} s")
    for name in ("apply", "verify"):
        print(f"rnpc {name} --help: {process(name, '--help'):.2f} s")


def process(*words: str) -> float:
    """Best of three: seconds of a whole command."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([str(Path(sys.executable).with_name("rnpc")), *words], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - start)
    return best


def timed(name: str, model: ModelProto) -> tuple[float, float]:
    """Best of three: seconds of the analysis and of the removal."""
    source, plan, best = model.SerializeToString(), thirty_percent(model), [float("inf")] * 2
    for _ in range(3):
        start = time.perf_counter()
        analyse(model)
        middle = time.perf_counter()
        result = remove(source, model, plan)
        best = [min(best[0], middle - start), min(best[1], time.perf_counter() - middle)]
    planned = sum(len(site.channels) for site in plan.sites)
    sizes = f"{len(source) / 1e6:.1f} MB to {len(result.data) / 1e6:.1f} MB, {planned - len(result.kept)} of {planned} channels went"
    print(f"{name}: {len(model.graph.node)} nodes, analysis {best[0]:.3f} s, removal {best[1]:.3f} s; {sizes}")
    return best[0], best[1]


def thirty_percent(model: ModelProto) -> Silence:
    """The first channels of every site, half of them to a constant that is not zero."""
    sites = find_sites(model)
    values = {site.value: {c: 0.5 * (c % 2) for c in range(max(1, int(0.3 * site.channels)))} for site in sites}
    return silence(sites, values, "remove")


Layer = tuple[NodeProto, list[TensorProto]]


def network(layers: Iterator[Layer]) -> ModelProto:
    """A classifier of these layers."""
    nodes, tensors = list[NodeProto](), list[TensorProto]()
    for node, stored in layers:
        nodes.append(node)
        tensors.extend(stored)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])
    scored = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "network", [image], [scored], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(source: str, name: str, before: int, after: int, kernel: int = 1, stride: int = 1) -> Layer:
    """A convolution that keeps the size, with a bias."""
    rng = np.random.default_rng(len(name) * 7919 + after)
    weight = rng.standard_normal((after, before, kernel, kernel), dtype=np.float32) / np.float32(np.sqrt(before) * kernel)
    stored = [numpy_helper.from_array(weight, f"{name}.w"), numpy_helper.from_array(np.zeros(after, np.float32), f"{name}.b")]
    pads = [kernel // 2] * 4
    return helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [name], name=name, pads=pads, strides=[stride] * 2), stored


def plain(op_type: str, name: str, *inputs: str) -> Layer:
    """A node without weights."""
    return helper.make_node(op_type, list(inputs), [name], name=name), []


def head(value: str, channels: int) -> Iterator[Layer]:
    """Mean, Flatten, scores."""
    yield plain("GlobalAveragePool", "mean", value)
    yield plain("Flatten", "flat", "mean")
    weight = np.random.default_rng(0).standard_normal((10, channels), dtype=np.float32)
    yield helper.make_node("Gemm", ["flat", "fc.w"], ["scores"], name="fc", transB=1), [numpy_helper.from_array(weight, "fc.w")]


def resnet50() -> Iterator[Layer]:
    """ResNet-50 with BatchNormalization folded away: stages of 3, 4, 6 and 3 bottlenecks (He et al., 2016)."""
    yield conv("x", "stem", 3, 64, 7, 2)
    yield plain("Relu", "stem.r", "stem")
    value, channels = "stem.r", 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            name, stride = f"s{stage}.{block}", 2 if block == 0 and stage else 1
            yield conv(value, f"{name}.1", channels, width)
            yield plain("Relu", f"{name}.1r", f"{name}.1")
            yield conv(f"{name}.1r", f"{name}.2", width, width, 3, stride)
            yield plain("Relu", f"{name}.2r", f"{name}.2")
            yield conv(f"{name}.2r", f"{name}.3", width, 4 * width)
            if block == 0:
                yield conv(value, f"{name}.s", channels, 4 * width, 1, stride)
            yield plain("Add", f"{name}.a", f"{name}.3", f"{name}.s" if block == 0 else value)
            yield plain("Relu", f"{name}.r", f"{name}.a")
            value, channels = f"{name}.r", 4 * width
    yield from head(value, channels)


def chain(nodes: int) -> Iterator[Layer]:
    """Residual blocks of eight channels, about so many nodes."""
    yield conv("x", "stem", 3, 8)
    value = "stem"
    for block in range((nodes - 4) // 4):
        yield conv(value, f"b{block}.1", 8, 8, 3)
        yield plain("Relu", f"b{block}.r", f"b{block}.1")
        yield conv(f"b{block}.r", f"b{block}.2", 8, 8)
        yield plain("Add", f"b{block}.a", value, f"b{block}.2")
        value = f"b{block}.a"
    yield from head(value, 8)


if __name__ == "__main__":
    main()
