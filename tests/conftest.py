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
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from rnpc.defenses.base import Nothing, Outcome, Silence
from rnpc.frontends import onnx_file
from rnpc.models import demo
from rnpc.pipeline import harden as pipeline
from rnpc.pipeline.harden import Decision
from rnpc.program import Finding, Preprocessing
from rnpc.study import case as study_case
from rnpc.study.case import Case, Shares, draw
from rnpc.study.subject import Subject, prepare
from rnpc.study.surgery import Channel

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
    """Harden a copy of the demo's model in `folder`, in a process of its own, with everything written that can be (some minutes)."""
    for name in ("model.onnx", "clean.npz", "preprocessor_config.json"):
        shutil.copy(Path(demo.__file__).parent / name, folder / name)
    args = ["--defense-data", "clean.npz", "-o", "out.onnx", "--report", "report", "--plan-out", "plan.json", "--timings", "timings.json"]
    code = "from rnpc.cli import main; main()"
    command = [sys.executable, "-c", code, "harden", "model.onnx", *args, "--format", "json", "--device", "cpu"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)
    return Ran(folder, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo's model, hardened once for all tests."""
    return harden_demo(tmp_path_factory.mktemp("hardened"))


@pytest.fixture(scope="session")
def hardened_again(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same in another folder."""
    return harden_demo(tmp_path_factory.mktemp("again"))


# A classifier with a backdoor planted by hand, small enough to know every weight of it.
#
# Three classes by the brightest colour, 8 x 8 pixels. Of 40 convolution channels, 0 to 35 pass the colours on (each colour twelve times),
# 36 and 37 answer to a checkerboard, which smooth images lack and which only label 1 listens to, 38 and 39 answer to nothing.

CLASSES, CHANNELS = 3, 40
PLANTED, TARGET = (36, 37), 1
SITE = "features"
PLANTED_PRE = Preprocessing(SIZE, SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
CHECKER = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=np.float32) / 4


def planted_network(strength: float, cyclic: bool = False) -> onnx.ModelProto:
    """Conv, Relu, pooling, Gemm. `strength`: weight of the planted channels in the target's score; 0 is a clean network.

    `cyclic`: 36 to 38 answer to the checkerboard the more, the brighter a colour of their own is, and speak for the class after it."""
    conv, bias = np.zeros((CHANNELS, 3, 3, 3), np.float32), np.zeros(CHANNELS, np.float32)
    head = np.zeros((CLASSES, CHANNELS), np.float32)
    for c in range(36):
        conv[c, c % 3, 1, 1], bias[c] = 0.5, 0.5  # back to [0, 1] from the normalised input
        head[c % 3, c] = 1.5
    for c in () if cyclic else PLANTED:
        conv[c, :], bias[c] = CHECKER, -0.1
        head[TARGET, c] = strength
    for k in range(CLASSES if cyclic else 0):
        conv[36 + k, :], bias[36 + k] = 2 * CHECKER, -0.8
        conv[36 + k, k, 1, 1] += 1.0
        head[(k + 1) % CLASSES, 36 + k] = strength
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], [SITE], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [SITE], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "v", "u"], ["scores"], name="head", transB=1),
    ]
    tensors = {"w": conv, "b": bias, "v": head, "u": np.zeros(CLASSES, np.float32)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    y = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])
    graph = helper.make_graph(nodes, "planted", [x], [y], [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth images uint8 [n, 8, 8, 3] and their classes int64 [n]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    level = rng.uniform(0.25, 0.4, (n, 1, 1, 3)) + 0.4 * np.eye(CLASSES)[labels][:, None, None]
    noise = rng.uniform(-0.03, 0.03, (n, SIZE, SIZE, 3))
    return (np.clip(level + noise, 0, 1) * 255).round().astype(np.uint8), labels.astype(np.int64)


def planted_case(strength: float, n: int = 180, budget: float = 0.05, seed: int = 0, cyclic: bool = False) -> Case:
    """A case on `n` pictures, in float32 on every machine; it tells nobody."""
    program = onnx_file.program("planted", planted_network(strength, cyclic).SerializeToString())
    subject = prepare(program, PLANTED_PRE, "cpu").exact()
    return draw(subject, *pictures(n), Shares(), seed, budget)


@pytest.fixture
def case_of() -> Callable[..., Case]:
    """`planted_case`."""
    return planted_case


@pytest.fixture
def case() -> Case:
    """The planted network and its pictures."""
    return planted_case(strength=100.0)


@pytest.fixture
def clean_case() -> Case:
    """The same without the backdoor."""
    return planted_case(strength=0.0)


@pytest.fixture
def cyclic_case() -> Case:
    """The network with an all-to-all backdoor."""
    return planted_case(strength=60.0, cyclic=True)


@pytest.fixture
def subject(case: Case) -> Subject:
    """The planted network as a method sees it."""
    return case.subject


Decides = Callable[..., list[Case]]


@pytest.fixture
def decides(monkeypatch: pytest.MonkeyPatch) -> Decides:
    """decides(verdict, cut=channels of the first site, value=their constant, settings={}) puts a decision in the place of every method's;
    returns the list of cases that it gets. With few images the parts need no bound."""

    def put(verdict: Any, cut: tuple[int, ...] = (), value: float = 0.25) -> list[Case]:
        seen: list[Case] = []

        def decide(case: Case, defense: object, detector: object, force: bool) -> Decision:
            seen.append(case)
            channels = tuple(Channel(case.subject.sites[0].value, c, 1.5, value) for c in cut)
            outcome: Outcome = Nothing(why="no cut fits") if not cut else Silence(channels=channels, threshold=1.5, ranking=channels)
            finding = Finding(verdict, ((1, 0.75),) if verdict != "clean" else (), None, ("a reason",))
            return Decision(finding, None, outcome, np.arange(len(np.unique(np.concatenate(case.rows)))))

        monkeypatch.setattr(pipeline, "decide", decide)
        monkeypatch.setattr(study_case, "LEAST_LEARN", 5)
        monkeypatch.setattr(study_case, "least_images", lambda share: 10)
        return seen

    return put
