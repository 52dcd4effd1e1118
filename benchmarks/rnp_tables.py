"""Tables 8, 13 and 14 of Reconstructive Neuron Pruning (Li et al., ICML 2023) on one victim with BatchNorm kept.

    python benchmarks/rnp_tables.py VICTIM --data-root DATA [--seed 1] [--threads 1]

VICTIM: what `rnpc attack` wrote (batchnorm.onnx, trigger.onnx, spec.json); 500 training images drawn by the seed, 70 % to learn on, the
rest to judge by. CA and ASR in percent on all test images, by the twin, which is proved equal.

- Table 8: masks below a threshold, and the fraction of all with the lowest masks; with `rnp`'s own blind threshold.
- Table 13: what each step is worth. Without recovering: the filters that unlearning moved least, relative to their size, fall. Without
  unlearning: masks recovered on the original. Learning incorrectly: the original is tuned by descent to the unlearned model's answers,
  then recovered. Each with the blind threshold; where that cuts nothing, with as many filters as `rnp`'s cut at 0.7.
- Table 14: masks in one stage of the network only, by their number of channels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stays import Judge, shown
from strangers import IMAGES, described, test_images
from torch.nn import functional as F

from rnpc import api
from rnpc.data import datasets
from rnpc.data.infer import Flags
from rnpc.defenses import rnp
from rnpc.defenses.rnp import Rnp
from rnpc.pipeline import inputs as ways
from rnpc.program import FilterSite
from rnpc.runtime import Session
from rnpc.study import unlearn
from rnpc.study.case import Case, draw
from rnpc.study.subject import Split, prepare, stored
from rnpc.study.surgery import Channel, edits_of
from rnpc.twin import Twin

THRESHOLDS, FRACTIONS, FIXED = (0.01, 0.2, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8), (0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.1), 0.7
STEP = 0.01
"""Rate of learning incorrectly, that of unlearning."""


@dataclass(frozen=True)
class Bench:
    """A victim's case, what judges it, and the published schedule."""

    case: Case
    judge: Judge
    schedule: unlearn.Schedule

    def cut(self, channels: Sequence[Channel]) -> str:
        """Filters, CA and ASR of a cut, as cells."""
        ca, asr = self.judge.rates(self.case.subject, edits_of(self.case.subject, channels))
        return f"{len(channels)} | {ca:.2f} | {asr:.2f}"

    def along(self, ranking: Sequence[Channel], sizes: Mapping[str, int], below: int, instead: int = 0) -> list[Channel]:
        """The blind cut along the first `below` of a ranking; `instead` of them where it is none."""
        whole = rnp.spare_whole_sites(ranking[:below], sizes)
        return rnp.affordable(self.case, whole) or whole[:instead]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victim", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for line in tables(bench_of(options)):
        print(line, flush=True)


def bench_of(options: argparse.Namespace) -> Bench:
    """The case of a victim's batchnorm.onnx with its test images."""
    model = described(options.victim, "batchnorm.onnx")
    assert model is not None and model.target is not None, "a backdoored victim of `rnpc attack` is needed"
    data = datasets.load(model.dataset, None if model.dataset == "mnist" else options.data_root)
    rows = np.random.default_rng(options.seed).permutation(len(data.train_labels))[:IMAGES]
    given = api.as_images(data.train_images[rows], data.train_labels[rows])
    program, _ = ways.load_program(model.path, ways.Way())
    pre = ways.settle(program, model.path.parent, given, Flags(), "cpu", threads=options.threads).pre
    subject = prepare(program, pre, "cpu").exact()
    case = draw(subject, given.images, data.train_labels[rows].astype(np.int64), Rnp.shares, options.seed, 0.02)
    images, labels = test_images(model.dataset, data, options.data_root)
    counted = slice(None) if model.source is None else labels == model.source
    trigger = Session((options.victim / "trigger.onnx").read_bytes(), device="cpu")
    triggered = Split(shown(trigger, images[counted]), torch.from_numpy(labels[counted]))
    judge = Judge(Split(stored(images), torch.from_numpy(labels)), triggered, model.target)
    return Bench(case, judge, Rnp().schedule(case))


def tables(bench: Bench) -> Iterator[str]:
    """All lines."""
    case, schedule = bench.case, bench.schedule
    twin, sites = unlearn.masked_twin(case, case.subject.kept)
    start, betas = weights(twin, sites), rnp.betas_of(twin, sites)
    sizes = {site.value: site.channels for site in sites}
    course = unlearn.unlearn(case, twin, schedule)
    last = course[-1]
    yield f"unlearned in {len(course)} epochs to {last.accuracy:.1%}; votes {last.votes.max():.0%} for {last.votes.argmax()}"
    moved, unlearned = changes(start, weights(twin, sites)), answers(case, twin)
    masks, mean = unlearn.recover(case, twin, sites, schedule)
    ranking = rnp.ranked(case, masks, mean, betas)
    yield from ["", "| table 8 | filters | CA | ASR |", "| --- | --- | --- | --- |", f"| no defense | {bench.cut(())} |"]
    for threshold in THRESHOLDS:
        below = rnp.spare_whole_sites(ranking[: fallen(ranking, threshold)], sizes)
        yield f"| threshold {threshold:g} | {bench.cut(below)} |"
    for fraction in FRACTIONS:
        yield f"| fraction {fraction:g} | {bench.cut(rnp.spare_whole_sites(ranking, sizes)[: round(fraction * len(ranking))])} |"
    yield f"| blind threshold | {bench.cut(bench.along(ranking, sizes, fallen(ranking, 1.0)))} |"
    many = len(rnp.spare_whole_sites(ranking[: fallen(ranking, FIXED)], sizes))
    yield from ["", "| table 13 | filters | CA | ASR |", "| --- | --- | --- | --- |", f"| no defense | {bench.cut(())} |"]
    least = tuple(sorted(ranking, key=lambda c: moved[c.site][c.index]))
    yield f"| without recovering | {bench.cut(bench.along(least, sizes, len(least), many))} |"
    for name, twin in (
        ("without unlearning", unlearn.masked_twin(case, case.subject.kept)[0]),
        ("learning incorrectly", mistaught(case, schedule, len(course), unlearned)),
    ):
        found = rnp.ranked(case, *unlearn.recover(case, twin, sites, schedule), betas)
        yield f"| {name} | {bench.cut(bench.along(found, sizes, fallen(found, 1.0), min(many, fallen(found, 1.0))))} |"
    yield f"| unlearning and recovering | {bench.cut(bench.along(ranking, sizes, fallen(ranking, 1.0), many))} |"
    yield from ["", "| table 14 | filters | CA | ASR |", "| --- | --- | --- | --- |"]
    for width in sorted(set(sizes.values())):
        inner = tuple(site for site in sites if site.channels == width)
        twin, _ = unlearn.masked_twin(case, case.subject.kept)
        unlearn.unlearn(case, twin, schedule)
        found = rnp.ranked(case, *unlearn.recover(case, twin, inner, schedule), betas)
        yield f"| {width} channels, blind | {bench.cut(bench.along(found, sizes, fallen(found, 1.0)))} |"
        yield f"| {width} channels, {FIXED} | {bench.cut(rnp.spare_whole_sites(found[: fallen(found, FIXED)], sizes))} |"


def fallen(ranking: Sequence[Channel], threshold: float) -> int:
    """How many masks lie below it."""
    return sum(1 - channel.score < threshold for channel in ranking)


def weights(twin: Twin, sites: Sequence[FilterSite]) -> dict[str, torch.Tensor]:
    """BatchNorm weight and bias of each site, [2, C]."""
    found = {}
    for site in sites:
        assert site.bias is not None
        found[site.value] = torch.stack([twin.parameter_of(name).detach().clone() for name in (site.weight, site.bias)])
    return found


def changes(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """By site, how far each filter went, relative to its size."""
    return {name: ((after[name] - value).norm(dim=0) / value.norm(dim=0).clamp_min(1e-6)).numpy() for name, value in before.items()}


def answers(case: Case, twin: Twin) -> torch.Tensor:
    """What the unlearned model says of the learn images, on batch statistics, as it was unlearned."""
    twin.train()
    with torch.no_grad():
        found = [twin(case.subject.normalise(pixels)).argmax(1) for pixels, _ in case.learn.parts(128)]
    twin.eval()
    return torch.cat(found)


def mistaught(case: Case, schedule: unlearn.Schedule, epochs: int, labels: torch.Tensor) -> Twin:
    """The original, tuned for as many epochs to answer as the unlearned model does."""
    twin, _ = unlearn.masked_twin(case, case.subject.kept)
    sgd = torch.optim.SGD([p.requires_grad_() for p in twin.parameters()], lr=STEP, momentum=0.9, weight_decay=schedule.decay)
    generator = torch.Generator().manual_seed(case.seed)
    twin.train()
    for _ in range(epochs * schedule.epoch):
        rows = torch.randperm(len(case.learn), generator=generator)[: schedule.batch]
        loss = F.cross_entropy(twin(case.subject.normalise(case.learn.pixels(rows))).float(), labels[rows])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    twin.eval()
    return twin


if __name__ == "__main__":
    main()
