"""The house's rules that a compiler would not notice: import layers, names, sizes, packages, and what `rnpc --help` loads."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = {"passes": ROOT / "passes", "frontends": ROOT / "frontends", "models": ROOT / "models"}
# Each room imports only rooms before it. The bench hardens as users do, through the api, so it lies above that.
BOTTOM = ["errors", "files", "stats", "registry", "catalogue", "speed", "stage", "program", "plan", "panel", "data", "passes"]
MIDDLE = ["runtime", "twin", "models", "frontends", "study", "detectors", "defenses", "attacks", "victims"]
LAYERS = [*BOTTOM, *MIDDLE, "report", "pipeline", "api", "bench", "cli"]
FREE = {"__init__", "__main__"}
SCRIPTS = {ROOT / "models" / "demo" / "make.py"}  # run by hand, imported by nothing
NO_TORCH = {"errors", "stage", "program", "plan", "panel", "catalogue", "stats", "registry", "passes"}


def sources() -> Iterator[tuple[str, Path]]:
    """(room, file) of the package: a room is a folder, or a file that lies directly in `rnpc`."""
    for path in sorted((ROOT / "rnpc").rglob("*.py")):
        yield path.relative_to(ROOT / "rnpc").parts[0].removesuffix(".py"), path
    for room, folder in MAPPED.items():
        yield from ((room, path) for path in sorted(folder.rglob("*.py")))


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a file imports, inside functions and for type checking too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node)


FILES = [pytest.param(room, path, id=str(path.relative_to(ROOT))) for room, path in sources()]


@pytest.mark.parametrize(("room", "path"), FILES)
def test_imports_go_down(room: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert not [name for name in imports(tree) if name.split(".")[0] in MAPPED], "import by the package's name"
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level], "relative import"
    if room not in FREE and path not in SCRIPTS:
        check_layer(room, text)


def check_layer(room: str, text: str) -> None:
    """A room's file imports nothing above the room, and nothing that the room must be free of."""
    assert room in LAYERS, f"{room} has no place in the layers"
    names = list(imports(ast.parse(text)))
    used = {parts[1] for name in names if (parts := name.split("."))[0] == "rnpc" and len(parts) > 1}
    above = {other for other in used & set(LAYERS) if LAYERS.index(other) > LAYERS.index(room)}
    assert not above, f"{room} imports {above}, which lie above it"
    if room in NO_TORCH:
        assert "torch" not in {name.split(".")[0] for name in names}, f"{room} is free of torch"
    if room in ("study", "detectors", "defenses"):
        assert not used & {"attacks", "victims", "bench"}, "what decides is blind"


TURNED = [
    ("plan", "from rnpc.passes.rewrite.apply import apply", "above"),  # passes import plan
    ("study", "from rnpc.detectors.base import Detection", "above"),
    ("detectors", "def f():\n    from rnpc.defenses.base import Outcome", "above"),  # inside a function too
    ("pipeline", "if TYPE_CHECKING:\n    from rnpc.api import Result", "above"),  # for type checking too
    ("api", "import rnpc.bench.spec", "above"),
    ("passes", "import torch", "free of torch"),
]


@pytest.mark.parametrize(("room", "text", "why"), TURNED)
def test_an_import_turned_round_is_seen(room: str, text: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_layer(room, text)


@pytest.mark.parametrize(("room", "path"), FILES)
def test_files_and_functions_are_small(room: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 300
    assert not text.strip() or ast.get_docstring(tree), "a module says its idea"
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > 45]


@pytest.mark.parametrize(("room", "path"), FILES)
def test_no_function_takes_more_than_eight_arguments(room: str, path: Path) -> None:
    """Commands get one argument an option from click, which calls them by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and room != "cli":
            arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")]
            assert len(arguments) <= 8, f"{node.name}: {len(arguments)} arguments"


def test_only_processes_of_our_own_keep_memory() -> None:
    """The allocator's settings last as long as the process, which is the user's where rnpc is a library."""
    callers = {path.relative_to(ROOT).as_posix() for _, path in sources() if "keep_memory()" in path.read_text(encoding="utf-8")}
    assert {c for c in callers if not c.startswith("rnpc/cli/")} <= {"rnpc/speed.py", "rnpc/bench/worker.py"}
    assert {"rnpc/cli/attack.py", "rnpc/cli/harden.py", "rnpc/bench/worker.py"} <= callers


def python(code: str, *arguments: str) -> str:
    """Standard output of a fresh interpreter that does not look where it stands: a checkout may be called rnpc."""
    done = subprocess.run([sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_light() -> None:
    code = "import sys; from rnpc.cli import run; print(run(['--help']), sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = python(code).splitlines()[-1]
    assert loaded.startswith("0 ")
    assert not [name for name in ("torch", "onnx", "onnxruntime", "numpy", "scipy", "matplotlib", "PIL", "jinja2") if f"'{name}'" in loaded]


def test_onnx_goes_in_without_torch() -> None:
    modules = "rnpc.frontends, rnpc.passes.rewrite.apply, rnpc.passes.canonical.batchnorm, rnpc.passes.facts.intake"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert python(code).strip() == "False"


def test_no_module_has_a_bare_name() -> None:
    import rnpc.frontends
    import rnpc.passes  # noqa: F401

    assert not [name for name in MAPPED if name in sys.modules]


def folders() -> set[str]:
    """Packages by the folders that hold Python files."""
    found = {("rnpc", *path.parent.relative_to(ROOT / "rnpc").parts) for path in (ROOT / "rnpc").rglob("*.py")}
    for room, folder in MAPPED.items():
        found |= {("rnpc", room, *path.parent.relative_to(folder).parts) for path in folder.rglob("*.py")}
    return {".".join(parts) for parts in found}


def listed() -> set[str]:
    """Packages that setup.cfg lists."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options"]["packages"].split())


def test_setup_lists_every_package() -> None:
    assert listed() == folders()


@pytest.mark.slow
def test_wheel_holds_every_package_and_works_outside(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), str(copied(tmp_path))]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    packages = {name.rpartition("/")[0].replace("/", ".") for name in names if name.endswith(".py")}
    assert packages == listed()
    data = {name.removeprefix("rnpc/") for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    assert "py.typed" in data and any(name.startswith("models/demo/") for name in data)
    place = str(tmp_path / "site")
    imports = "sys.path.insert(0, sys.argv[1]); import rnpc.passes.wire.walk, rnpc.frontends"
    code = f"import sys; {imports}; print(rnpc.passes.wire.walk.__file__)"
    assert python(code, place).startswith(place)


def copied(tmp_path: Path) -> Path:
    """The checkout's sources in a folder of their own, so that a build leaves nothing behind."""
    import shutil

    target = tmp_path / "source"
    skip = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build")
    for name in ("rnpc", *MAPPED):
        shutil.copytree(ROOT / name, target / name, ignore=skip)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "setup.py"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target / name)
    return target
