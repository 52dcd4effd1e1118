"""A network that classifies by brightness, with weights known in closed form, and folders of images for it.

Class k of K is brightness (k + 0.5) / K. The scores are -(m - c_k)^2 up to a term common to all classes, that is 2 c_k m - c_k^2 with m the
mean of all pixels in [0, 1]: they are right only if pixels arrive normalised as the network expects, so that wrong preprocessing shows.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from rnpc.models import demo

Sizes = int | str
SIZE = 8


def brightness_model(
    classes: int = 5,
    mean: float = 0.0,
    std: float = 1.0,
    channels: int = 3,
    size: Sizes = SIZE,
    batch: Sizes = "n",
    order: tuple[int, ...] | None = None,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """The network for inputs (x - mean) / std; output i scores the brightness order[i]."""
    centre = ((np.array(order or range(classes)) + 0.5) / classes).astype(np.float32)
    # The convolution passes each input channel on, so that the graph has a filter site.
    tensors = {
        "w": np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1),
        "b": np.zeros(channels, dtype=np.float32),
        "fc": np.repeat(2 * centre[:, None] * std / channels, channels, axis=1).astype(np.float32),
        "bias": (2 * centre * mean - centre**2).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["features"], name="conv"),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "fc", "bias"], ["scores"], name="head", transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, size, size])
    y = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, classes])
    graph = helper.make_graph(nodes, "brightness", [x], [y], [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    return model


def brightness_images(labels: np.ndarray, classes: int = 5, seed: int = 0, size: int = SIZE, channels: int = 3) -> np.ndarray:
    """uint8 [n, size, size, channels] of the classes' brightness, with a little noise that cannot change the class."""
    level = (labels + 0.5) / classes * 255
    noise = np.random.default_rng(seed).uniform(-20 / classes, 20 / classes, (len(labels), size, size, channels))
    return np.clip(level[:, None, None, None] + noise, 0, 255).round().astype(np.uint8)


def write_folders(root: Path, labels: np.ndarray, names: list[str], images: np.ndarray) -> Path:
    """An ImageFolder: one sub-folder for each class that occurs."""
    for i, (label, image) in enumerate(zip(labels, images, strict=True)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return root


@pytest.fixture
def toy() -> Callable[..., onnx.ModelProto]:
    """`brightness_model`."""
    return brightness_model


@pytest.fixture
def bright() -> Callable[..., np.ndarray]:
    """`brightness_images`."""
    return brightness_images


@pytest.fixture
def folders() -> Callable[..., Path]:
    """`write_folders`."""
    return write_folders


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    """The network for [-1, 1], with its preprocessor_config.json beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(brightness_model(mean=0.5, std=0.5), folder / "model.onnx")
    config = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder / "model.onnx"


@pytest.fixture
def toy_data(tmp_path: Path) -> Path:
    """60 images of five classes in folders named by number."""
    labels = np.arange(60) % 5
    return write_folders(tmp_path / "data", labels, [f"{i:05d}" for i in range(5)], brightness_images(labels))


@dataclass(frozen=True)
class Ran:
    """A finished `rnpc harden` of the demo's model: its folder, exit code and what it printed."""

    folder: Path
    code: int
    out: str
    err: str


def harden_demo(folder: Path) -> Ran:
    """Harden a copy of the demo's model in `folder`, in a process of its own, with everything written that can be (about a minute)."""
    for name in ("model.onnx", "clean.npz", "preprocessor_config.json"):
        shutil.copy(Path(demo.__file__).parent / name, folder / name)
    args = ["--defense-data", "clean.npz", "-o", "out.onnx", "--report", "report", "--plan-out", "plan.json", "--timings", "timings.json"]
    code = "from rnpc.cli import main; main()"
    command = [sys.executable, "-c", code, "harden", "model.onnx", *args, "--format", "json", "--device", "cpu"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    return Ran(folder, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo's model, hardened once for all tests."""
    return harden_demo(tmp_path_factory.mktemp("hardened"))


@pytest.fixture(scope="session")
def hardened_again(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same in another folder."""
    return harden_demo(tmp_path_factory.mktemp("again"))
