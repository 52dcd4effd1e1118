"""Names of the outputs: every place they may stand in, and what contradicts the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnpc.data import outputs
from rnpc.errors import InputRefused


def write(folder: Path, name: str, content: Any) -> None:
    """A file beside a model."""
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.json", ["cat", "dog"]),
        ("labels.json", {"0": "cat", "1": "dog"}),
        ("labels.json", {"dog": 1, "cat": 0}),
        ("labels.txt", "cat\n\n dog \n"),
        ("config.json", {"id2label": {"1": "dog", "0": "cat"}}),
        ("config.json", {"label_names": ["cat", "dog"]}),
        ("config.json", {"pretrained_cfg": {"label_names": ["cat", "dog"]}}),
    ],
)
def test_places(tmp_path: Path, name: str, content: Any) -> None:
    write(tmp_path, name, content)
    assert outputs.find(tmp_path, ("a", "b"), 2) == (("cat", "dog"), name)


def test_the_models_own_come_last(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})
    assert outputs.find(tmp_path, ("a", "b"), 2) == (("a", "b"), "metadata")
    assert outputs.find(tmp_path, None, 2) is None and outputs.find(None, None, 2) is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.json", ["cat"], "names 1 classes, the model has 2 outputs"),
        ("labels.json", "{", "cannot be read as labels"),
        ("labels.json", {"0": "cat", "5": "dog"}, "indices are not 0, 1, 2"),
        ("labels.json", 3, "expected a list or a mapping"),
        ("config.json", {"id2label": {"x": "cat"}}, "its labels are not understood"),
    ],
)
def test_refused(tmp_path: Path, name: str, content: Any, words: str) -> None:
    write(tmp_path, name, content)
    with pytest.raises(InputRefused, match=words):
        outputs.find(tmp_path, None, 2)
