"""Which source wins, and what contradicts the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnpc.data import infer, outputs
from rnpc.data.config import Stated
from rnpc.data.infer import Flags
from rnpc.errors import InputRefused, UsageError
from rnpc.program import Preprocessing, Signature

HALF = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 32}


def signature(height: int | None = 32, width: int | None = 32, channels: int = 3, dtype: str = "float32") -> Signature:
    return Signature("x", "y", dtype, "NCHW", channels, height, width, None, 10)


def full(sources: list[tuple[str, Stated]], shape: Signature) -> Preprocessing | None:
    return infer.pixels(infer.geometry(shape, sources, None, "m"), shape, sources, "m")


def test_flags_come_before_files_and_files_before_metadata(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(HALF))
    metadata = {"mean": "[0.1, 0.2, 0.3]", "std": "1, 1, 1"}
    preset = Preprocessing(32, 32, mean=(0.7,) * 3)
    both = infer.stated(Flags(mean=(0.4,), std=(0.3,)), tmp_path, metadata, preset)
    assert [name for name, _ in both] == ["flag", "preprocessor_config.json", "metadata", "model"]
    for sources, mean, source in [
        (both, (0.4,) * 3, "flag"),
        (both[1:], (0.5,) * 3, "preprocessor_config.json"),
        (both[2:], (0.1, 0.2, 0.3), "metadata"),
    ]:
        found = full(sources, signature())
        assert found is not None and found.mean == mean and dict(found.sources)["mean"] == source
    found = full(both[3:], signature())
    assert found is not None and found.mean == (0.7,) * 3 and dict(found.sources)["std"] == "model"
    assert full([], signature()) is None


def test_a_file_given_by_flag_excludes_single_values(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    with pytest.raises(UsageError, match="no such file"):
        Flags(preprocess=file).stated()
    file.write_text(json.dumps(HALF))
    assert Flags(preprocess=file).stated()[0][1].mean == (0.5,) * 3
    with pytest.raises(UsageError, match="comes with"):
        Flags(preprocess=file, mean=(0.5,)).stated()


def test_units_follow_from_the_numbers() -> None:
    for mean, std, scale in [((0.5,), (0.5,), 1 / 255), ((123.7, 116.3, 103.5), (58.4,), 1.0), (None, (255.0,), 1.0)]:
        [(_, said)] = Flags(mean=mean, std=std).stated()
        assert said.scale == scale
    assert Flags(size=(32, 32)).stated()[0][1].scale is None


def test_onnx_image_metadata() -> None:
    found = infer.from_metadata({"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_1_1"})
    assert found.channel_order == "BGR" and found.mean == (0.5,)
    assert infer.from_metadata({"Image.NominalPixelRange": "NominalRange_0_255"}).scale == 1.0
    with pytest.raises(InputRefused, match="mean or std"):
        infer.from_metadata({"mean": "average"})


def test_the_inputs_shape_outranks_all() -> None:
    with pytest.raises(InputRefused, match="flag says 64x64, the input is 32x32"):
        infer.geometry(signature(), Flags(size=(64, 64)).stated(), None, "m")
    with pytest.raises(InputRefused, match="says NHWC"):
        infer.geometry(signature(), Flags(layout="NHWC").stated(), None, "m")
    with pytest.raises(InputRefused, match="resizes the short side to 16"):
        infer.geometry(signature(), [("f", Stated(shortest_edge=16))], None, "m")


def test_an_open_size_comes_from_flags_or_images() -> None:
    shape = signature(None, None)
    with pytest.raises(InputRefused, match="size is open"):
        infer.geometry(shape, [], None, "m")
    assert dict(infer.geometry(shape, [], (48, 40), "m").sources)["size"] == "size of the images"
    found = infer.geometry(shape, Flags(size=(64, 32)).stated(), (48, 40), "m")
    assert (found.height, found.width) == (64, 32) and dict(found.sources)["size"] == "flag"


def test_channels_are_spread_or_refused() -> None:
    grey = full(Flags(mean=(0.5,), std=(0.5,)).stated(), signature(channels=1))
    assert grey is not None and grey.mean == (0.5,)
    with pytest.raises(InputRefused, match="mean of flag has 3 values for 1 channels"):
        full(Flags(mean=(0.5,) * 3).stated(), signature(channels=1))


def test_labels_beside_the_model(tmp_path: Path) -> None:
    assert outputs.find(tmp_path, None, 2) is None
    assert outputs.find(None, ("a", "b"), 2) == (("a", "b"), "metadata")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"1": "dog", "0": "cat"}}))
    assert outputs.find(tmp_path, ("a", "b"), 2) == (("cat", "dog"), "config.json")
    (tmp_path / "labels.txt").write_text("x\ny\n")
    assert outputs.find(tmp_path, None, 2) == (("x", "y"), "labels.txt")
    for text in ('["u", "v"]', '{"v": 1, "u": 0}', '{"0": "u", "1": "v"}'):
        (tmp_path / "labels.json").write_text(text)
        assert outputs.find(tmp_path, None, 2) == (("u", "v"), "labels.json")
    with pytest.raises(InputRefused, match="names 2 classes, the model has 3 outputs"):
        outputs.find(tmp_path, None, 3)
    (tmp_path / "labels.json").write_text('{"0": "u", "2": "v"}')
    with pytest.raises(InputRefused, match="cannot be read as labels"):
        outputs.find(tmp_path, None, 2)


def test_placeholder_labels_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    assert outputs.find(tmp_path, None, 2) is None
