"""SPEC: what is read, and the one line for each thing that is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from rnpc.bench import spec
from rnpc.errors import InputRefused, UsageError

GOOD = """
schema = "rnpc.bench/1"
name = "good"
[defaults]
dataset = "mnist"
width = 4
[[victim]]
attack = "badnets"
target = 3
settings = { size = 4 }
[[victim]]
attack = "none"
width = 8
[harden]
forms = ["folded"]
images = 100
seeds = [1, 2]
methods = ["auto"]
"""


def parsed(change: str = "", by: str = "") -> dict[str, Any]:
    """GOOD with one text put in the place of another."""
    assert change in GOOD
    return tomllib.loads(GOOD.replace(change, by) if change else GOOD)


def test_defaults_fill() -> None:
    bench = spec.parse(parsed(), "good.toml")
    assert [v.width for v in bench.victims] == [4, 8]
    assert [(c.number, c.seed) for c in bench.cells()] == [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("name", ["choose", "judge"])
def test_built_in(name: str) -> None:
    bench = spec.load(name)
    clean = [v for v in bench.victims if v.attack == "none"]
    assert len(clean) >= 12 and len(bench.victims) - len(clean) >= 12
    assert set(bench.forms) == {"folded", "batchnorm"} and set(bench.methods) == {"auto", "rnp"}


def test_judges_are_new() -> None:
    choose, judge = spec.load("choose"), spec.load("judge")
    assert not {v.seed for v in choose.victims} & {v.seed for v in judge.victims}
    assert {v.arch for v in judge.victims} - {v.arch for v in choose.victims}
    assert {(v.dataset, v.target) for v in judge.victims} - {(v.dataset, v.target) for v in choose.victims}


@pytest.mark.parametrize(
    ("change", "by", "words"),
    [
        ('schema = "rnpc.bench/1"', 'schema = "2"', ("x.toml", "schema", "rnpc.bench/1")),
        ('name = "good"', 'name = "cells"', ("x.toml", "name", "cells")),
        ('name = "good"', 'name = "../up"', ("x.toml", "name")),
        ('name = "good"', 'nam = "good"', ("x.toml", "no field named nam")),
        ("width = 4", "widht = 4", ("x.toml, [defaults]", "no field named widht", "width")),
        ("width = 4", 'width = "4"', ("x.toml, [defaults]", "width is '4'", "integer")),
        ("width = 8", "width = 8.5", ("x.toml, [[victim]] 2", "width is 8.5")),
        ("width = 8", "width = true", ("x.toml, [[victim]] 2", "width is True")),
        ("width = 8", "width = 0", ("x.toml, [[victim]] 2", "width", "1 to 1024")),
        ('attack = "badnets"', 'attack = "badnet"', ("x.toml, [[victim]] 1", "badnet", "badnets, blend")),
        ('attack = "badnets"\n', "", ("x.toml, [[victim]] 1", "attack is missing")),
        ('dataset = "mnist"', 'dataset = "svhn"', ("x.toml, [[victim]] 1", "svhn", "gtsrb")),
        ("target = 3", 'target = "last"', ("x.toml, [[victim]] 1", "target", "next")),
        ("size = 4", "sise = 4", ("x.toml, [[victim]] 1", "no setting named sise")),
        ('attack = "none"\nwidth = 8', 'attack = "badnets"\ntarget = 3\nsettings = { size = 4 }', ("same victim as [[victim]] 1",)),
        ("seeds = [1, 2]", "seeds = [4294967296]", ("x.toml, [harden]", "seeds", "0 to 4294967295")),
        ('forms = ["folded"]', 'forms = ["fold"]', ("x.toml, [harden]", "forms", "folded, batchnorm")),
        ("images = 100", "images = 0", ("x.toml, [harden]", "images is 0")),
        ("images = 100\n", "", ("x.toml, [harden]", "images is missing")),
        ("seeds = [1, 2]", "seeds = [1, 1]", ("x.toml, [harden]", "seeds", "each once")),
        ("seeds = [1, 2]", "seeds = 1", ("x.toml, [harden]", "seeds is 1")),
        ('methods = ["auto"]', 'methods = ["no-such"]', ("x.toml, [harden]", "methods", "auto, rnp")),
    ],
)  # fmt: skip
def test_wrong(change: str, by: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        spec.parse(parsed(change, by), "x.toml")
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in words), line


def test_no_tables() -> None:
    with pytest.raises(UsageError, match="victim"):
        spec.parse({**parsed(), "victim": []}, "x.toml")
    with pytest.raises(UsageError, match="victim"):
        spec.parse({**parsed(), "victim": [3]}, "x.toml")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="choose, judge"):
        spec.load("chose")
    (tmp_path / "bad.toml").write_text("[[victim]\n")
    with pytest.raises(InputRefused, match="not TOML"):
        spec.load(str(tmp_path / "bad.toml"))
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(InputRefused, match="not TOML"):
        spec.load(str(tmp_path / "latin.toml"))
