"""From a model and a folder to aligned inputs, by whatever is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnpc import frontends
from rnpc.data import images
from rnpc.data.infer import Flags
from rnpc.errors import InputRefused
from rnpc.pipeline import inputs as api_inputs

Toy = Callable[..., onnx.ModelProto]


def test_a_config_beside_the_model_settles_it(toy_file: Path, toy_data: Path) -> None:
    found = api_inputs.resolve(toy_file, toy_data, threads=1)
    assert found.accuracy is not None and found.accuracy.value == 1.0
    assert dict(found.pre.sources)["mean"] == "preprocessor_config.json"
    assert found.order is not None and found.order.rule == "integer names are output indices"
    assert found.logits.shape == (60, 5) and found.provider == "CPUExecutionProvider"
    assert [fact.name for fact in found.facts][:3] == ["input", "output", "size"]


def test_the_probe_settles_what_nothing_states(toy_file: Path, toy_data: Path) -> None:
    (toy_file.parent / "preprocessor_config.json").unlink()
    found = api_inputs.resolve(toy_file, toy_data, threads=1)
    assert found.pre.mean == (0.5,) * 3 and dict(found.pre.sources)["mean"].startswith("probe: [-1, 1]")


def test_without_labels_nothing_is_probed(toy_file: Path, toy_data: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in toy_data.rglob("*.png"):
        file.rename(flat / file.name)
    found = api_inputs.resolve(toy_file, flat, threads=1)
    assert found.accuracy is None and found.images.labels is None
    (toy_file.parent / "preprocessor_config.json").unlink()
    with pytest.raises(InputRefused, match="without labels it cannot be found"):
        api_inputs.resolve(toy_file, flat, threads=1)
    assert api_inputs.resolve(toy_file, flat, Flags(mean=(0.5,), std=(0.5,)), threads=1).pre.std == (0.5,) * 3


def test_labels_beside_the_model_name_the_folders(
    tmp_path: Path, toy: Toy, bright: Callable[..., np.ndarray], folders: Callable[..., Path]
) -> None:
    names = ["dark", "dim", "middle", "light", "white"]
    labels = np.arange(40) % 4  # no image of class white
    data = folders(tmp_path / "data", labels, names, bright(labels))
    onnx.save(toy(metadata={"names": str(dict(enumerate(names))), "mean": "0", "std": "1"}), tmp_path / "m.onnx")
    found = api_inputs.resolve(tmp_path / "m.onnx", data, threads=1)
    assert found.accuracy is not None and found.accuracy.value == 1.0
    assert found.images.classes == tuple(names) and "1 of 5 classes have no image" in found.notes
    assert dict(found.pre.sources)["mean"] == "metadata"


def test_a_wrong_order_is_refused(toy_file: Path, toy_data: Path) -> None:
    for i in range(5):
        (toy_data / f"{i:05d}").rename(toy_data / f"shade{(i + 1) % 5}")
    with pytest.raises(InputRefused, match="another order of the classes would give 100%"):
        api_inputs.resolve(toy_file, toy_data, threads=1)


def test_folders_that_do_not_fit_are_refused(toy_file: Path, toy_data: Path) -> None:
    (toy_data / "00004").rename(toy_data / "cat")
    (toy_data / "00003").rename(toy_data / "dog")
    (toy_data / "00002").rename(toy_data / "dog2")
    for file in (toy_data / "00001").iterdir():
        file.unlink()
    with pytest.raises(InputRefused, match="do not fit a model with 5 outputs"):
        api_inputs.resolve(toy_file, toy_data, threads=1)


def test_a_program_and_images_in_memory(toy_file: Path, toy_data: Path) -> None:
    program = frontends.load(toy_file)
    found = api_inputs.resolve(program, images.load(toy_data, (8, 8)), Flags(mean=(0.5,), std=(0.5,)), threads=1)
    assert found.accuracy is not None and found.accuracy.value == 1.0
    with pytest.raises(InputRefused, match="the model reads 8x8x3"):
        api_inputs.resolve(program, images.load(toy_data, (16, 16)), Flags(mean=(0.5,), std=(0.5,)), threads=1)


def test_an_open_size_is_taken_from_the_images(tmp_path: Path, toy: Toy, toy_data: Path) -> None:
    onnx.save(toy(size="s"), tmp_path / "m.onnx")
    found = api_inputs.resolve(tmp_path / "m.onnx", toy_data, Flags(mean=(0.0,), std=(1.0,)), threads=1)
    assert (found.pre.height, dict(found.pre.sources)["size"]) == (8, "size of the images")
