"""How fast `rnpc attack` trains, and what fraction of the processor's own convolution speed its steps reach.

    python benchmarks/train.py --data-root DIR [--dataset gtsrb --arch resnet18 --width 32 --fraction 0.5 --threads 2 --steps 40]
    python benchmarks/train.py --data-root DIR --whole OUT      # also trains and writes the whole victim, stage by stage

The peak is the best rate of a forward bfloat16 (or float32) convolution, channels last, over the shapes that the network itself has. A
step's work is three times the forward convolutions' and linear layers' multiply-adds, two operations each: forward, gradient of the input,
gradient of the weights; normalisation, activation, augmentation and the update count as overhead.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc import speed
from rnpc.data import datasets
from rnpc.victims.loop import Progress, Trainer
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import subset, train_victim

Shape = tuple[int, int, int, int, int]
"""Input channels, output channels, kernel side, stride, output side."""


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    spec = VictimSpec(
        "badnets", options.dataset, options.arch, options.width, target=0, seed=0, fraction=options.fraction, epochs=options.epochs
    )
    data = datasets.load(spec.dataset, options.data_root)
    with tempfile.TemporaryDirectory() as folder:
        rows = subset(data.train_labels, spec.fraction, spec.seed)
        trainer = Trainer(spec, spec.checked(len(data.classes), data.shape), data, rows, "cpu", Path(folder) / "checkpoint.pt")
        work, shapes = layers(trainer.model, data.shape, spec.batch)
        seconds, faults = steps(trainer, options.steps)
    best = peak(shapes, spec.batch, trainer.precision)
    found: dict[str, Any] = {
        "arch": spec.arch,
        "width": spec.width,
        "threads": options.threads,
        "precision": trainer.precision,
        "seconds_a_step": round(seconds, 4),
        "page_faults_a_step": round(faults),
        "training_gflops": round(work / seconds / 1e9, 1),
        "peak_convolution_gflops": round(best / 1e9, 1),
        "fraction_of_peak": round(work / seconds / best, 3),
        "steps": trainer.steps_each * spec.epochs,
    }
    if options.whole is not None:
        found["stages"] = whole(spec, options)
    print(json.dumps(found, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--dataset", default="gtsrb")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--fraction", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="steps to time, after five to warm up")
    parser.add_argument("--whole", type=Path, metavar="OUT", help="train and write the victim into this new folder too")
    return parser.parse_args()


def layers(model: nn.Module, shape: tuple[int, int, int], batch: int) -> tuple[float, set[Shape]]:
    """Floating-point operations of one training step, and the shapes of the convolutions."""
    work, shapes = 0.0, set()

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal work
        if isinstance(layer, nn.Conv2d):
            places = output.shape[2] * output.shape[3]
            work += layer.weight.numel() * places
            shapes.add((layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], output.shape[2]))
        elif isinstance(layer, nn.Linear):
            work += layer.weight.numel()

    hooks = [layer.register_forward_hook(note) for layer in model.modules()]
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return 3 * 2 * work * batch, shapes


def steps(trainer: Trainer, count: int) -> tuple[float, float]:
    """Median seconds and mean page faults of a step."""
    optimizer = torch.optim.SGD(trainer.model.parameters(), 0.01, 0.9, nesterov=True, fused=True)
    trainer.model.train()
    order = torch.randperm(len(trainer.labels), generator=trainer.generator)
    times, faults = [], 0
    for step in range(count + 5):
        rows = order[torch.arange(step * trainer.spec.batch, (step + 1) * trainer.spec.batch) % len(order)]
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        trainer.step(trainer.model, optimizer, rows)
        if step >= 5:
            times.append(time.perf_counter() - started)
            faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return statistics.median(times), faults / count


def peak(shapes: set[Shape], batch: int, precision: speed.Precision) -> float:
    """Best operations a second of a forward convolution over the shapes."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    rates = []
    for before, after, kernel, stride, side in sorted(shapes):
        x = torch.rand(batch, before, side * stride, side * stride).to(kind).contiguous(memory_format=torch.channels_last)
        weight = torch.rand(after, before, kernel, kernel).to(kind).contiguous(memory_format=torch.channels_last)
        times = []
        for _ in range(20):
            started = time.perf_counter()
            F.conv2d(x, weight, stride=stride, padding=kernel // 2)
            times.append(time.perf_counter() - started)
        rates.append(2 * batch * weight.numel() * side * side / min(times))
    return max(rates)


def whole(spec: VictimSpec, options: argparse.Namespace) -> dict[str, Any]:
    """Wall seconds of each stage of a whole run, and what it measured."""
    marks: dict[str, float] = {}
    started = time.perf_counter()

    def note(event: Progress) -> None:
        marks.setdefault(event.stage, time.perf_counter() - started)

    measured = train_victim(spec, options.data_root, options.whole, threads=options.threads, device="cpu", progress=note)
    total = time.perf_counter() - started
    ends = [*list(marks.values())[1:], total]
    stages = {f"{stage}_s": round(end - begin, 1) for (stage, begin), end in zip(marks.items(), ends, strict=True)}
    return {**stages, "total_s": round(total, 1), "ca": measured["folded"]["ca"]["value"], "asr": measured["folded"]["asr"]["value"]}


if __name__ == "__main__":
    main()
