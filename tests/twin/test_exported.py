"""What torch's two exporters write for small image classifiers: the twin equals onnxruntime at several batch sizes, gradients flow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnpc.twin import build

SIZE = 32


class Residual(nn.Module):
    def __init__(self, c: int, d: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c, d, 3, stride, 1, bias=False), nn.BatchNorm2d(d), nn.ReLU(), nn.Conv2d(d, d, 3, 1, 1, bias=False), nn.BatchNorm2d(d)
        )
        self.short = nn.Sequential(nn.Conv2d(c, d, 1, stride, bias=False), nn.BatchNorm2d(d)) if stride > 1 or c != d else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def resnet() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 10))
    return nn.Sequential(stem, Residual(8, 8, 1), Residual(8, 16, 2), head)


class SqueezeExcite(nn.Module):
    def __init__(self, c: int, gate: nn.Module) -> None:
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))


def mobile() -> nn.Module:
    def block(c: int, act: nn.Module, gate: nn.Module) -> list[nn.Module]:
        depthwise = nn.Conv2d(c, c, 3, 2, 1, groups=c, bias=False)
        return [depthwise, nn.BatchNorm2d(c), act, SqueezeExcite(c, gate), nn.Conv2d(c, 2 * c, 1), nn.BatchNorm2d(2 * c)]

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), *block(8, nn.Hardswish(), nn.Hardsigmoid()),
        *block(16, nn.SiLU(), nn.Sigmoid()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.dim = nn.Conv2d(3, 24, 8, 8), 24
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 17, 24))
        self.norm1, self.norm2, self.norm = nn.LayerNorm(24), nn.LayerNorm(24), nn.LayerNorm(24)
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.mlp = nn.Sequential(nn.Linear(24, 48), nn.GELU(), nn.Linear(48, 24))
        self.head = nn.Linear(24, 10)

    def attend(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 4, 6).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(n, length, 24))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0] + self.attend(h)
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm(x)[:, 0])


class ConvNext(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.dw = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm, self.first = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down, self.scale = nn.Linear(16, 64), nn.Linear(64, 16), nn.Parameter(torch.rand(16))
        self.group = nn.GroupNorm(4, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(F.gelu(self.up(y)))
        x = self.group(x + y.permute(0, 3, 1, 2))
        return self.head(x.mean((2, 3)))


class Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.LeakyReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.PReLU(8))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.elu(self.bn(self.stem(x)))
        x = F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 3, 2, 1, ceil_mode=True, count_include_pad=False)
        a, b = x.chunk(2, 1)
        x = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = F.interpolate(x, scale_factor=2.0) + F.interpolate(x, scale_factor=2.0, mode="bilinear")
        return F.log_softmax(self.head(F.adaptive_max_pool2d(x, 1).flatten(1)), 1)


NETS: dict[str, Callable[[], nn.Module]] = {"resnet": resnet, "mobile": mobile, "vit": Vit, "convnext": ConvNext, "shuffle": Shuffle}


def warmed(name: str) -> nn.Module:
    """A network whose BatchNorm statistics are not the initial ones."""
    torch.manual_seed(len(name))
    net = NETS[name]().train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 3, SIZE, SIZE))
    return net.eval()


def exported(net: nn.Module, opset: int, *, dynamo: bool = False, batch: int | None = None, **settings: object) -> onnx.ModelProto:
    """The model as the exporter writes it, with a dynamic batch unless one is given."""
    x, buffer = torch.randn(batch or 2, 3, SIZE, SIZE), io.BytesIO()
    axes = {} if batch else {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"x": [0], "y": [0]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net, (x,), None if dynamo else buffer, opset_version=opset, dynamo=dynamo, input_names=["x"], output_names=["y"], verbose=False,
            **axes, **settings,
        )  # type: ignore[call-overload]  # fmt: skip
    return program.model_proto if dynamo else onnx.load_from_string(buffer.getvalue())


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(model.SerializeToString(), options)


def check(model: onnx.ModelProto, batches: tuple[int, ...] = (1, 5)) -> None:
    """The twin equals onnxruntime, and every parameter gets a gradient."""
    twin, runtime = build(model), session(model)
    for n in batches:
        x = torch.randn(n, 3, SIZE, SIZE)
        wanted = runtime.run(None, {runtime.get_inputs()[0].name: x.numpy()})[0]
        found = twin(x)
        assert found.shape == wanted.shape
        assert np.abs(found.detach().numpy() - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())
    twin(torch.randn(3, 3, SIZE, SIZE)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in twin.parameters())
    # The meta device has no numbers: this run fails where a size is read off a device, or a constant is left behind on the CPU.
    assert twin.to("meta")(torch.empty(7, 3, SIZE, SIZE, device="meta")).shape[0] == 7


@pytest.mark.parametrize("opset", range(13, 21))
@pytest.mark.parametrize("name", NETS)
def test_legacy(name: str, opset: int) -> None:
    if name == "vit" and opset < 14:
        pytest.skip("the exporter has no scaled_dot_product_attention before opset 14")
    check(exported(warmed(name), opset))


@pytest.mark.parametrize("name", NETS)
def test_batch_of_one(name: str) -> None:
    """Exported without dynamic axes: the twin takes any batch all the same."""
    model = exported(warmed(name), 17, batch=1)
    twin, runtime, x = build(model), session(model), torch.randn(4, 3, SIZE, SIZE)
    wanted = np.concatenate([runtime.run(None, {"x": part.numpy()})[0] for part in x.split(1)])
    assert np.abs(twin(x).detach().numpy() - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_dynamo_batch_of_two(name: str) -> None:
    model = exported(warmed(name), 18, dynamo=True, batch=2)
    twin, runtime, x = build(model), session(model), torch.randn(6, 3, SIZE, SIZE)
    wanted = np.concatenate([runtime.run(None, {"x": part.numpy()})[0] for part in x.split(2)])
    assert np.abs(twin(x).detach().numpy() - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("opset", [9, 11])
@pytest.mark.parametrize("name", ["resnet", "mobile", "shuffle"])
def test_legacy_old(name: str, opset: int) -> None:
    net = warmed(name) if name != "mobile" else NETS["resnet"]().eval()
    check(exported(net, opset))


@pytest.mark.parametrize("name", NETS)
def test_legacy_kept_batchnorm(name: str) -> None:
    check(exported(warmed(name), 17, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE))


@pytest.mark.parametrize("name", NETS)
def test_dynamo(name: str) -> None:
    check(exported(warmed(name), 20, dynamo=True))


@pytest.mark.parametrize("opset", [21, 23])
def test_dynamo_attention(opset: int) -> None:
    check(exported(warmed("vit"), opset, dynamo=True))


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_dynamo_kept_batchnorm(name: str) -> None:
    check(exported(warmed(name), 18, dynamo=True, optimize=False))
