"""Do zeroing and removing agree on every architecture, and what does removing bring?

    python benchmarks/architectures.py [--only NAME ...] [--width N] [--size 32] [--seed 0] [--share 0.3]
    python benchmarks/architectures.py --light [--only NAME ...] [--seed 0]
    python benchmarks/architectures.py --optimize [--only NAME ...] [--width N] [--size 32] [--seed 0]
    python benchmarks/architectures.py --latency [--torch-pruning] [--onnxsim PYTHON] [--seed 0]

Every architecture of `rnpc.models`, both ways of export, gets a random plan, half of whose constants are not zero. Printed: sites,
channels, planned channels, how far zeroing moves the scores, the largest difference between zeroed and removed scores in onnxruntime
(both in units of the scores' scale), and the size of the removed file in units of the original's. `--light` does the same to the nine
classic networks that onnx carries, with seeded random weights. `--optimize` makes the copy for deployment of every architecture.

`--latency` removes 30 % of the inner channels of each block of ResNet-50 at 224 pixels, and times original, zeroed and removed file in
turn; `--torch-pruning` adds Torch-Pruning's result for the same channels, if that is installed. `--onnxsim` adds the pruner of onnxsim 0.8
(`onnxsim.pruning.apply_structured_pruning`), run by an interpreter that has it: it takes a share, not channels, and ranks them by norm. So
its file is also compared with the graph in which its own choice is silenced: to zero, and to the channel's bias, which is what is left of
a filter whose weights are zero.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import torch
from onnx import numpy_helper
from random_plans import both, plan, scores
from torch import nn

from rnpc import models
from rnpc.errors import RnpcError, UsageError
from rnpc.passes.canonical.clean import clean
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply
from rnpc.pipeline.optimise import optimise
from rnpc.plan import Plan, silence
from rnpc.program import FilterSite
from rnpc.runtime import Session
from rnpc.victims import export

LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"
HEAD = (
    "| network | nodes | sites | channels | planned | moved | zeroed - removed | size |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)
INNER = (".conv1.", ".conv2.")


def main() -> int:
    """Print the tables; 1 where a removed file differs from the zeroed one, or could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="networks; default: all")
    parser.add_argument("--width", type=int, help="channels of the first layer; default: the paper's")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--bound", type=float, default=1e-4, help="on the difference")
    for name in ("light", "optimize", "latency", "torch-pruning"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--onnxsim", metavar="PYTHON", help="an interpreter that has onnxsim 0.8")
    options = parser.parse_args()
    if options.latency or options.torch_pruning or options.onnxsim:
        return latency(options)
    if options.optimize:
        return optimised(options)
    print(HEAD)
    networks = light(options.only, options.seed) if options.light else ours(options)
    bad = [name for name, data, images in networks if not report(name, data, images, options)]
    print(f"\n{len(bad)} failed: {', '.join(bad)}" if bad else "\nall agree")
    return int(bool(bad))


def report(name: str, data: bytes, images: np.ndarray, options: argparse.Namespace) -> bool:
    """One line of the table; whether zeroed and removed agree."""
    found = both(data, plan(data, options.seed, options.share), images)
    nodes = len(onnx.load_from_string(data).graph.node)
    size = f"{len(found.removed) / len(data):.2f}" if found.removed else found.refused
    line = (
        f"| {name} | {nodes} | {found.sites} | {found.channels} | {found.planned} | {found.moved:.2g} | {found.difference:.1e} | {size} |"
    )
    print(line, flush=True)
    return found.difference <= options.bound


def optimised(options: argparse.Namespace) -> int:
    """Nodes, size and parity of the optimised copies."""
    print("| network | nodes | after | size | difference |\n| --- | --- | --- | --- | --- |")
    for name, data, images in ours(options):
        try:
            found = optimise(data, images, threads=1)
        except RnpcError as error:
            print(f"| {name} | {error} |")
            return 1
        print(f"| {name} | {found.before} | {found.after} | {len(found.data) / len(data):.2f} | {found.difference:.1e} |", flush=True)
    return 0


def ours(options: argparse.Namespace) -> Iterator[tuple[str, bytes, np.ndarray]]:
    """(name and form, ONNX, images) of our architectures."""
    size = options.size
    images = np.random.default_rng(options.seed).standard_normal((4, 3, size, size)).astype(np.float32)
    for name in options.only or models.names():
        try:
            net = settled(name, options.width, size, options.seed)
        except UsageError as error:
            print(f"| {name} | {error} |")
            continue
        for form, data in zip(("folded", "kept"), export.network(net, (3, size, size)), strict=True):
            yield f"{name}, {form}", data, images


def settled(name: str, width: int | None, size: int, seed: int) -> nn.Module:
    """Random weights with BatchNorm's statistics of noise and no vector at its first value, so that every channel counts."""
    torch.manual_seed(seed)
    net = models.create(name, classes=10, width=width, size=size)
    for tensor in net.parameters():
        if tensor.dim() == 1:
            tensor.data += 0.3 * torch.randn_like(tensor)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(8, 3, size, size))
    return net.eval()


def light(only: Sequence[str], seed: int) -> Iterator[tuple[str, bytes, np.ndarray]]:
    """onnx's nine light networks with seeded random weights: He's rule, vectors near one, which serves scales, biases and variances."""
    images = np.random.default_rng(seed).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for path in sorted(LIGHT.glob("light_*.onnx")):
        name = path.stem.removeprefix("light_")
        if only and name not in only:
            continue
        model, rng = clean(onnx.load(path)), np.random.default_rng(seed)
        for tensor in model.graph.initializer:
            shape = tuple(tensor.dims)
            if tensor.data_type == onnx.TensorProto.FLOAT and shape:
                value = rng.standard_normal(shape, np.float32)
                value = value * np.sqrt(2 / prod(shape[1:])) if len(shape) > 1 else 1 + 0.1 * value
                tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
        # The files state no shape for their scores, which onnx.checker wants.
        yield name, onnx.shape_inference.infer_shapes(model).SerializeToString(deterministic=True), images


def latency(options: argparse.Namespace) -> int:
    """ResNet-50 without 30 % of the inner channels: milliseconds an image, size, and whether the files agree."""
    seed = options.seed
    net = settled("resnet50", None, 224, seed)
    data = export.network(net, (3, 224, 224))[0]
    made = plan(data, seed, 0.3, constants=False, chosen=inner)
    files = {"original": data, "zeroed": apply(data, made, mode="zero").data}
    try:
        start = time.perf_counter()
        files["removed"] = apply(data, made, mode="remove").data
        print(f"removing took {time.perf_counter() - start:.2f} s; {made.channels} channels of {len(made.sites)} sites\n")
    except RnpcError as error:
        print(f"not removed: {error}\n")
    if options.torch_pruning:
        files["Torch-Pruning"] = pruned(net, {site.site: site.channels for site in made.sites}, data)
    if options.onnxsim:
        files["onnxsim"] = simplified(options.onnxsim, data, 0.3)
    images = np.random.default_rng(seed).standard_normal((1, 3, 224, 224)).astype(np.float32)
    wanted = scores(files["zeroed"], images)
    times = timed(files, images)
    print("| file | ms | of the original | MB | of the original | difference from zeroed |\n| --- | --- | --- | --- | --- | --- |")
    for name, content in files.items():
        ratio, size = times[name] / times["original"], len(content) / len(data)
        apart = np.abs(scores(content, images) - wanted).max() / np.abs(wanted).max()
        print(f"| {name} | {times[name]:.1f} | {ratio:.2f} | {len(content) / 1e6:.1f} | {size:.2f} | {apart:.1e} |")
    if options.onnxsim:
        own_choice(data, files["onnxsim"], images)
    same = "removed" in files and np.abs(scores(files["removed"], images) - wanted).max() <= 1e-4 * np.abs(wanted).max()
    return int(not same)


def inner(site: FilterSite) -> bool:
    """Whether the channels stay inside a block."""
    return any(part in site.weight for part in INNER)


def timed(files: dict[str, bytes], images: np.ndarray, rounds: int = 30) -> dict[str, float]:
    """Median milliseconds of one image by file; the files take turns, so that what slows the machine slows all."""
    sessions = {name: Session(data, device="cpu", threads=1) for name, data in files.items()}
    spent: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(rounds + 3):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(images)
            if turn >= 3:
                spent[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in spent.items()}


def pruned(net: nn.Module, channels: dict[str, tuple[int, ...]], data: bytes) -> bytes:
    """The same channels taken out of the module by Torch-Pruning, exported as the original was."""
    import torch_pruning as tp

    makers = {node.output[0]: node for node in onnx.load_from_string(data).graph.node}
    graph: Any = tp.DependencyGraph().build_dependency(net, torch.zeros(1, 3, 224, 224))
    for value, chosen in channels.items():
        layer = net.get_submodule(makers[value].input[1].removesuffix(".weight"))
        group = graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs=list(chosen))
        group.prune()
    return export.network(net, (3, 224, 224))[0]


SIMPLIFIED = """
import sys, onnx
from onnxsim.pruning import apply_structured_pruning
onnx.save(apply_structured_pruning(onnx.load(sys.argv[1]), sparsity=float(sys.argv[3])), sys.argv[2])
"""


def simplified(python: str, data: bytes, share: float) -> bytes:
    """What onnxsim's pruner makes of a file, in another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
        source.write_bytes(data)
        subprocess.run([python, "-c", SIMPLIFIED, source, target, str(share)], check=True)
        return target.read_bytes()


def own_choice(data: bytes, pruned: bytes, images: np.ndarray) -> None:
    """Print how far a pruned file is from the graph in which just its channels are silenced, and how far our removal of them is."""
    for what in ("zero", "their biases"):
        made = chosen_by(data, pruned, keep=what != "zero")
        zeroed, removed = (scores(apply(data, made, mode=mode).data, images) for mode in ("zero", "remove"))
        theirs, ours = (np.abs(found - zeroed).max() / np.abs(zeroed).max() for found in (scores(pruned, images), removed))
        print(f"\n{made.channels} channels of onnxsim's choice, set to {what}: its file differs by {theirs:.1e}, ours by {ours:.1e}")


def chosen_by(data: bytes, pruned: bytes, keep: bool) -> Plan:
    """The channels that another pruner took out of convolutions, told by the biases that are left, as a plan: set to zero, or `keep` their
    biases."""
    before, after = ({t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(d).graph.initializer} for d in (data, pruned))
    biases = {node.output[0]: node.input[2] for node in onnx.load_from_string(data).graph.node if node.op_type == "Conv"}
    values: dict[str, dict[int, float]] = {}
    for value, name in biases.items():
        gone = np.flatnonzero(~np.isin(before[name], after[name]))
        if len(gone) != len(before[name]) - len(after[name]):
            raise ValueError(f"{name}: equal biases, so that the channels cannot be told apart")
        if len(gone):
            values[value] = {int(c): float(before[name][c]) * keep for c in gone}
    sites = find_sites(onnx.load_from_string(data))
    return Plan("onnxsim", 0, hashlib.sha256(data).hexdigest(), "", silence(sites, values))


if __name__ == "__main__":
    sys.exit(main())
