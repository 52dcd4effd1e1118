"""What makes training small images fast on a processor: memory that is kept, bfloat16 where it is native, channels last."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

Precision = Literal["bf16", "fp32"]
T = TypeVar("T")
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Limits that may be put on oneDNN's kernels, below which it has no native bfloat16."""
WITHOUT_AMX = (*WITHOUT_BF16, "AVX512_CORE_BF16", "AVX512_CORE_FP16")
"""The same of AMX."""
LEAST_CHANNELS = 8
"""Below this many input channels a strided 1 x 1 convolution is not trained in channels last: see `layout`."""
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8
"""Parameters of glibc's mallopt (malloc.h)."""


def keep_memory() -> bool:
    """Tell glibc to keep freed memory instead of giving it back and faulting it in again at each step; for the rest of the process.

    Small images make a step of many buffers of a few MB each; without this, page faults take up to half of it. Returns whether the C
    library took it; elsewhere than on Linux with glibc nothing happens. All threads share one heap: with one each, what one thread gave
    back would be kept from the others (1.6 GB instead of 1.1 at width 32).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 1 << 28))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Run torch on one thread inside, where `wanted`.

    oneDNN's bfloat16 kernels for the gradients of a convolution's weights wait for each other in busy loops. While other processes hold
    the cores, each wait lasts a time slice: a step of ResNet-18 took 3.5 s on two threads and 0.4 s on one (two cores, both shared).
    """
    before = torch.get_num_threads()
    try:
        if wanted:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(jobs: Sequence[Callable[[], T]], device: str = "cpu") -> list[T]:
    """The results of independent jobs, in their order, run beside each other where they compute on the processor.

    Each job has one thread of torch for itself, and there are as many at a time as torch had threads: small networks gain little from two
    threads on one convolution, and a job's result does not depend on how many run. The first error is raised, once all have ended.
    """
    count = torch.get_num_threads()
    with one_thread(device == "cpu"), ThreadPoolExecutor(count if device == "cpu" else 1) as pool:
        waiting = [pool.submit(job) for job in jobs]
    return [each.result() for each in waiting]


def layout(network: nn.Module, device: str = "cpu") -> torch.memory_format:
    """The memory format to train a network in: channels last, which is the faster one, where that is safe.

    oneDNN's AVX2 kernel for the weight gradient of a strided 1 x 1 convolution gathers the strided input into a workspace in blocks of 8
    channels; where a channels-last input has fewer, it writes behind the workspace (oneDNN issue 6035, in torch 2.13): heap corruption,
    aborts, wrong gradients. AVX-512 kernels do not, but a network must train alike on both. `rnpc.twin.ops.conv` takes the stride out.
    """
    on_cpu = torch.device(device).type == "cpu"
    unsafe = on_cpu and any(overruns(m.kernel_size, m.stride, m.in_channels) for m in network.modules() if isinstance(m, nn.Conv2d))
    return torch.contiguous_format if unsafe else torch.channels_last


def laid_out(x: Tensor, layout: torch.memory_format) -> Tensor:
    """`x` [n, C, H, W] in the layout, its strides too.

    With one channel both layouts count as contiguous, so that `contiguous` does nothing, while a convolution goes by the strides.
    """
    return x.contiguous(memory_format=layout) if layout == torch.channels_last else x.clone(memory_format=layout)


def overruns(kernel: Sequence[int], stride: Sequence[int], channels: int) -> bool:
    """Whether a convolution's weight gradient would overrun in channels last: kernel of one, a stride, fewer than 8 input channels."""
    return all(k == 1 for k in kernel) and any(s > 1 for s in stride) and channels < LEAST_CHANNELS


def precision(device: str) -> Precision:
    """bf16 where the hardware multiplies it natively and faster (AMX, AMD's AVX-512 BF16, CUDA from Ampere on), else fp32.

    It follows from what the machine is, not from a timing, so that one machine always trains the same victim. Measured with ResNet-18,
    forward, backward and update, one thread: on Zen 4 (width 16, batch 128) 0.20 s in bf16 and 0.31 s in fp32; on an Intel Xeon whose AMX
    the machine does not show (width 32, batch 64) 0.66 s in bf16 and 0.46 s in fp32.
    """
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    capable: dict[str, bool | str] = getattr(torch.cpu, "get_capabilities", dict)()
    amx = capable.get("amx_bf16") and limit not in WITHOUT_AMX
    amd = "AMD" in str(capable.get("cpu_name", "")) and capable.get("avx512_bf16") and limit not in WITHOUT_BF16
    return "bf16" if amx or amd else "fp32"
