"""One network given as ONNX and as a torch module: are verdict, label and channels the same?

    python benchmarks/two_ways.py --data-root DIR VICTIM [VICTIM ...] [--images 500] [--seed 1]

VICTIM is a folder that `rnpc attack` wrote. Its network is hardened in up to five forms on the same images: `folded.onnx` (torch's default
export), `batchnorm.onnx`, a `torch.nn.Module` through `rnpc.harden`, the weights file, and an export by torch's older exporter, which
folds by code of its own. Printed: verdict, label, ratio and channels of each, and the Jaccard overlap of its
channels with those of `folded.onnx`; channels are told apart by the place of their layer in the network, since names differ.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import rnpc
from rnpc import api, models
from rnpc.bench.draw import draw, pick
from rnpc.data import datasets
from rnpc.data.images import ImageSet
from rnpc.frontends import torch_module
from rnpc.victims.spec import VictimSpec

Found = tuple[dict[str, Any], list[str]]
"""The document, and the names of all sites in the network's order."""


def main() -> None:
    """Harden all forms of each victim and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victims", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| victim | form | verdict | label | ratio | channels | Jaccard |\n| --- | --- | --- | --- | --- | --- | --- |")
    for folder in options.victims:
        spec = VictimSpec.from_document(json.loads((folder / "spec.json").read_text()))
        data = datasets.load(spec.dataset, options.data_root)
        images = pick(data, draw(data, spec, options.images, options.seed).rows)
        name = f"{spec.attack}, {spec.dataset}, {spec.arch} w{spec.width}, seed {spec.seed}"
        first: set[tuple[int, int]] | None = None
        for form, (document, sites) in forms(folder, spec, data, images, options.seed):
            channels = {(sites.index(s["site"]), c) for s in document["pruned"]["sites"] for c in s["channels"]}
            first = channels if first is None else first
            overlap = "-" if not first | channels else f"{len(first & channels) / len(first | channels):.2f}"
            label = ", ".join(t["name"] if t["index"] is None else str(t["index"]) for t in document["target_labels"]) or "-"
            ratio = document["evidence"]["ratio"]
            print(f"| {name} | {form} | {document['verdict']} | {label} | {ratio:.3f} | {len(channels)} | {overlap} |", flush=True)


def forms(folder: Path, spec: VictimSpec, data: datasets.Dataset, images: ImageSet, seed: int) -> Iterator[tuple[str, Found]]:
    """Each form's name and what hardening it gave."""
    settings = api.Settings(seed=seed)
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    mean, std = stated["image_mean"], stated["image_std"]
    for name in ("folded.onnx", "batchnorm.onnx"):
        yield name, of_file(folder / name, images, settings)
    channels, size = data.shape[0], data.shape[1]
    module = models.create(spec.arch, classes=len(data.classes), width=spec.width, channels=channels, size=size)
    module.load_state_dict(load_file(folder / "weights.safetensors"))
    module.eval()
    result = rnpc.harden(module, images, mean=mean, std=std, settings=settings)
    yield "module", (result.document, [site.value for site in torch_module.load(module, (channels, size, size)).sites])
    yield "weights", of_file(folder / "weights.safetensors", images, settings, spec.arch)
    with tempfile.TemporaryDirectory() as place:
        older = Path(place) / "older.onnx"
        older.write_bytes(exported(module, (channels, size, size)))
        (Path(place) / "preprocessor_config.json").write_text(json.dumps(stated))
        yield "older exporter", of_file(older, images, settings)


def of_file(model: Path, images: ImageSet, settings: api.Settings, arch: str | None = None) -> Found:
    """Harden a file."""
    result = api.harden_file(model, images, None, settings, arch=arch)
    return result.document, [site.value for site in result.program.sites]


def exported(module: torch.nn.Module, shape: tuple[int, ...]) -> bytes:
    """ONNX by torch's older exporter."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, *shape),), buffer, dynamo=False, dynamic_axes={"x": {0: "batch"}}, input_names=["x"])
    return buffer.getvalue()


if __name__ == "__main__":
    main()
