"""The command: what it refuses, and with which code."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnpc import cli
from rnpc.cli.bench import numbers
from rnpc.errors import Exit, UsageError


def test_numbers() -> None:
    assert numbers((), 9) == [] and numbers(("1,3-5", "4"), 9) == [1, 3, 4, 5]
    for bad in ("0", "10", "5-3", "x", "1,", "-2"):
        with pytest.raises(UsageError, match="--only"):
            numbers((bad,), 9)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["chose", "--out", "o"], Exit.REFUSED, "choose, judge"),
        (["choose", "--out", "o"], Exit.REFUSED, "--data-root"),
        (["choose", "--out", "o", "--data-root", "."], Exit.REFUSED, "get it from"),
        (["choose", "--out", "o", "--only", "99"], Exit.USAGE, "1 to 55"),
        (["outside.toml", "--out", "o"], Exit.USAGE, "outside.toml, [[victim]] 1"),
        (["many.toml", "--out", "o"], Exit.USAGE, "many.toml, [harden]"),
        (["mini.toml", "--out", "file/o"], Exit.SURROUNDINGS, "file/o"),
        (["mini.toml"], Exit.USAGE, "--out"),
    ],
)
def test_refused(
    arguments: list[str],
    code: int,
    words: str,
    mini: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("mlxtend")
    text = mini.read_text()
    (tmp_path / "mini.toml").write_text(text)
    (tmp_path / "outside.toml").write_text(text.replace("target = 3", "target = 10"))
    (tmp_path / "many.toml").write_text(text.replace("images = 60", "images = 60000"))
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert cli.run(["bench", "harden", *arguments]) == code
    assert words in capsys.readouterr().err
