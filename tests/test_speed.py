"""Jobs side by side give what they give one after the other; networks train in a memory layout that is safe."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from rnpc.speed import laid_out, layout, precision, side_by_side


def test_results_keep_their_order_and_threads_come_back() -> None:
    before = torch.get_num_threads()
    found = side_by_side([partial(lambda k: (k, torch.get_num_threads()), k) for k in range(5)])
    assert found == [(k, 1) for k in range(5)] and torch.get_num_threads() == before


def test_an_error_is_raised_after_all_have_ended() -> None:
    ended: list[int] = []

    def job(k: int) -> None:
        if k == 0:
            raise ValueError("the first")
        ended.append(k)

    with pytest.raises(ValueError, match="the first"):
        side_by_side([partial(job, k) for k in range(4)])
    assert sorted(ended) == [1, 2, 3]


STRIDED = """
import sys
import torch
from torch import nn
from rnpc import speed

torch.set_num_threads(1)
torch.manual_seed(0)
for before in (3, 4, 6):
    layer = nn.Conv2d(before, 8, 1, 2, bias=False)
    layout = speed.layout(layer) if sys.argv[1] == "chosen" else torch.channels_last
    layer.to(memory_format=layout)
    for _ in range(6):
        x = torch.randn(32, before, 32, 32).contiguous(memory_format=layout).requires_grad_(True)
        layer(x).square().sum().backward()
"""


def under_avx2(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code where oneDNN takes the kernels of a processor without AVX-512; glibc checks its heap."""
    surroundings = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_PERTURB_": "165"}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=surroundings, capture_output=True, text=True, check=False)


def test_the_chosen_layout_trains_narrow_shortcuts() -> None:
    """In channels last these gradients corrupt the heap without AVX-512 (oneDNN issue 6035); `python test_speed.py` shows it."""
    done = under_avx2(STRIDED, "chosen")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kernel", "stride", "channels", "plain"), [(1, 2, 4, True), (1, 2, 8, False), (1, 1, 4, False), (3, 2, 4, False), (1, (2, 1), 3, True)]
)
def test_only_narrow_strided_single_pixels_lose_channels_last(kernel: int, stride: int, channels: int, plain: bool) -> None:
    network = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(channels, 16, kernel, stride))
    assert layout(network) == (torch.contiguous_format if plain else torch.channels_last)
    assert layout(network, "cuda") == torch.channels_last


def test_one_channel_is_laid_out_by_its_strides() -> None:
    gray = torch.rand(5, 28, 28, 1).permute(0, 3, 1, 2)  # as images come from files: contiguous either way, strided as channels last
    assert gray.is_contiguous() and laid_out(gray, torch.contiguous_format).stride() == (784, 784, 28, 1)
    assert laid_out(torch.rand(2, 3, 4, 4), torch.channels_last).stride() == (48, 1, 12, 3)


def test_allocator_settings_are_taken_or_declined() -> None:
    """In a process of its own, since they hold for the rest of it."""
    code = "from rnpc.speed import keep_memory; print(keep_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("True", "False")


def test_precision_follows_the_kernels_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision("cpu") in ("bf16", "fp32")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert precision("cpu") == "fp32"


@pytest.mark.parametrize(
    ("name", "amx", "limit", "wanted"),
    [
        ("Intel Xeon", True, "", "bf16"),
        ("Intel Xeon", False, "", "fp32"),
        ("Intel Xeon", True, "AVX512_CORE_BF16", "fp32"),
        ("AMD EPYC 9R14", False, "", "bf16"),
        ("AMD EPYC 9R14", False, "AVX512_CORE_BF16", "bf16"),
        ("AMD EPYC 9R14", False, "AVX512_CORE", "fp32"),
        ("", False, "", "fp32"),
    ],
)
def test_bfloat16_without_amx_is_faster_on_amd_only(monkeypatch: pytest.MonkeyPatch, name: str, amx: bool, limit: str, wanted: str) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": amx, "cpu_name": name})
    assert precision("cpu") == wanted


if __name__ == "__main__":
    print(under_avx2(STRIDED, "channels last"))
