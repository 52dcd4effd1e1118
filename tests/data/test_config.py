"""preprocessor_config.json and timm's config.json as they are found in the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnpc.data import config
from rnpc.errors import InputRefused

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def stated(raw: dict[str, Any]) -> config.Stated:
    return config.from_dict(raw, "test")


def test_vit_stretches_to_a_size() -> None:
    found = stated(
        {"do_resize": True, "size": {"height": 224, "width": 224}, "do_normalize": True, "do_rescale": True, "resample": 2, **IMAGENET}
    )
    assert (found.height, found.width, found.shortest_edge, found.resample) == (224, 224, None, "bilinear")
    assert found.scale == 1 / 255 and found.std == (0.229, 0.224, 0.225)


def test_resnet_resizes_the_short_side_and_cuts() -> None:
    crop = {"do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
    found = stated({"do_resize": True, "size": {"shortest_edge": 256}, **crop, "do_normalize": True, **IMAGENET, "resample": 3})
    assert (found.height, found.width, found.shortest_edge, found.resample) == (224, 224, 256, "bicubic")
    old = stated({"do_resize": True, "size": 256, "do_center_crop": True, "crop_size": 224, "do_normalize": True, **IMAGENET})
    assert (old.height, old.shortest_edge) == (224, 256)


def test_convnext_divides_by_crop_pct() -> None:
    found = stated({"size": {"shortest_edge": 224}, "crop_pct": 0.875, "do_normalize": True, **IMAGENET})
    assert (found.height, found.width, found.shortest_edge) == (224, 224, 256)
    assert stated({"size": {"shortest_edge": 384}, "crop_pct": 0.875, **IMAGENET}).shortest_edge is None


def test_what_is_switched_off_is_neutral() -> None:
    found = stated({"do_normalize": False, "do_rescale": True, "rescale_factor": 1 / 255, **IMAGENET})
    assert found.mean == (0.0,) and found.std == (1.0,) and found.scale == 1 / 255
    raw = stated({"do_normalize": False, "do_rescale": False, "do_flip_channel_order": True})
    assert raw.scale == 1.0 and raw.channel_order == "BGR"


def test_timm_configs() -> None:
    cfg = {"input_size": [3, 224, 224], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "crop_pct": 0.875}
    found = stated({"architecture": "resnet18", "pretrained_cfg": cfg})
    assert (found.height, found.shortest_edge, found.resample, found.scale) == (224, 256, "bicubic", 1 / 255)
    assert stated(cfg) == found


@pytest.mark.parametrize(
    "raw",
    [
        {"do_normalize": True},
        {"do_normalize": True, "image_mean": [0.5], "image_std": [0.0]},
        {"do_normalize": True, "image_mean": ["a"], "image_std": [1]},
        {"image_mean": [float("nan")], "image_std": [1]},
        {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224, **IMAGENET},
        {"size": 0, **IMAGENET},
        {"resample": 9, **IMAGENET},
        {"mean": [0.5], "std": [0.5], "input_size": [3]},
    ],
)
def test_what_is_not_understood_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InputRefused, match="its preprocessing is not understood"):
        stated(raw)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    for text in ("{", "[1]"):
        file.write_text(text)
        with pytest.raises(InputRefused, match=r"preprocessor_config.json: "):
            config.read_file(file)
    file.write_text(json.dumps({"size": 32}))
    assert not config.read_file(file).normalises
