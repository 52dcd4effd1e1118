"""Documents agree with what is there: options, methods, exit codes, links, the order of rooms, files that are named."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from rnpc.cli import COMMANDS
from rnpc.defenses import DEFENSES
from rnpc.detectors import DETECTORS
from rnpc.errors import Exit

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "user-guide.md"
OWN = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/user-guide.md", "docs/exit-codes.md", "docs/bench.md")
PAGES = [ROOT / name for name in OWN] + sorted((ROOT / "docs" / "decisions").glob("*.md"))
RESULTS = [ROOT / "docs" / "results.md", *sorted((ROOT / "docs" / "results").glob("*.md"))]
"""What their links name must be there; commands and modules in them may be those of earlier states."""


def text(path: Path) -> str:
    """A page."""
    return path.read_text(encoding="utf-8")


def command_of(name: str) -> click.Command:
    """The click command of that name."""
    found: click.Command = importlib.import_module(COMMANDS[name][0]).command
    return found


def words(command: click.Command) -> set[str]:
    """Its long options, those of its subcommands too."""
    own = {o for p in command.params if isinstance(p, click.Option) for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union(*(words(each) for each in below))


def settings() -> set[str]:
    """Options that come from the methods' settings."""
    names = {f.name.replace("_", "-") for method in DEFENSES.names() for f in DEFENSES.fields(method)}
    return {f"--{prefix}{name}" for name in names for prefix in ("", "no-")}


def test_guide_has_every_option_of_harden() -> None:
    given = {o for o in words(command_of("harden")) if o not in settings()}
    assert not [option for option in sorted(given) if f"`{option}" not in text(GUIDE) and f" {option}" not in text(GUIDE)]


@pytest.mark.parametrize("method", DEFENSES.names())
def test_guide_has_every_method_with_its_settings(method: str) -> None:
    row = next(line for line in text(GUIDE).splitlines() if line.startswith(f"| `{method}` |"))
    names = [f.name.replace("_", "-") for f in DEFENSES.fields(method)]
    assert not [name for name in names if f"`--{name}`" not in row and f"`--no-{name}`" not in row]
    detector = DEFENSES.kind(method).detector
    assert f"| `{detector}` |" in row if detector else "| none |" in row


def test_guide_has_every_detector_and_command() -> None:
    assert not [name for name in DETECTORS.names() if f"| `{name}` |" not in text(GUIDE)]
    assert not [name for name in COMMANDS if name != "demo" and f"rnpc {name}" not in text(GUIDE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_no_option_is_named_that_is_not_there(page: Path) -> None:
    known = {"--help", "--version", "--import-mode", "--out"} | settings() | set().union(*(words(command_of(name)) for name in COMMANDS))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text(page))) <= known


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        place, _, anchor = target.partition("#")
        file = page.parent / place if place else page
        if target.startswith("http"):
            continue
        heads = {slug(head) for head in re.findall(r"^#+ (.+)$", text(file), re.M)} if anchor and file.is_file() else set()
        lost += [target] if not file.is_file() or (anchor and anchor not in heads) else []
    assert not lost


def slug(head: str) -> str:
    """A heading's anchor."""
    return re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/user-guide.md", "docs/bench.md"])
def test_files_that_are_named_are_there(name: str) -> None:
    """In code marks: paths below a folder of the repository, and dotted names of modules (with a member, at most)."""
    marked = re.findall(r"`([^`\s]+)`", text(ROOT / name))
    paths = [m for m in marked if re.match(r"(rnpc|passes|models|frontends|tests|docs|benchmarks)/", m)]
    assert not [p for p in paths if not (ROOT / p).exists()]
    assert not [m for m in marked if re.fullmatch(r"rnpc(\.\w+)+", m) and not importable(m)]


def importable(name: str) -> bool:
    """Whether a dotted name is a module, or a member of one."""
    for parts in range(name.count(".") + 1, 0, -1):
        module, members = ".".join(name.split(".")[:parts]), name.split(".")[parts:]
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        return not members or hasattr(found, members[0])
    return False


def test_exit_codes_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \|", text(ROOT / "docs" / "exit-codes.md"), re.M)
    assert [int(row) for row in rows] == [int(code) for code in Exit]
    listed = next(line for line in text(ROOT / "README.md").split("\n\n") if line.startswith("Exit codes:"))
    assert {int(code) for code in re.findall(r"\b\d+\b", listed)} == {int(code) for code in Exit}


def test_contributing_has_the_order_of_the_rooms() -> None:
    layers = re.search(
        r"BOTTOM = \[(.*?)\].*?MIDDLE = \[(.*?)\].*?LAYERS = \[\*BOTTOM, \*MIDDLE, (.*?)\]", text(ROOT / "tests" / "test_layers.py"), re.S
    )
    assert layers is not None
    order = re.findall(r'"(\w+)"', " ".join(layers.groups()))
    said = re.search(r"^errors, files,.*?\.$", text(ROOT / "CONTRIBUTING.md"), re.S | re.M)
    assert said is not None
    assert re.findall(r"\w+", said.group()) == order


def test_decisions_are_numbered_in_a_row() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert not [page.name for page in pages if not text(page).startswith(f"# {int(page.name[:4])}. ")]
