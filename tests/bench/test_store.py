"""Files of a bench: by name, and whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnpc.bench import store
from rnpc.bench.store import Store
from rnpc.errors import SurroundingsError
from rnpc.victims.spec import VictimSpec


def test_places(tmp_path: Path) -> None:
    found, victim = Store(tmp_path), VictimSpec("none")
    assert found.victim(victim) == tmp_path / "victims" / victim.key and found.cell("k") == tmp_path / "cells" / "k.json"
    assert found.answers == tmp_path / "answers" and found.tables("s") == tmp_path / "s" and found.lock("t").name == "t.lock"


def test_written_whole(tmp_path: Path) -> None:
    place = tmp_path / "cells" / "k.json"
    assert store.read(place) is None
    store.write(place, {"b": 1, "a": "ä"})
    assert store.read(place) == {"a": "ä", "b": 1} and [p.name for p in place.parent.iterdir()] == ["k.json"]
    place.write_text("{")
    assert store.read(place) is None
    place.write_text("[]")
    assert store.read(place) is None


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cells").write_text("in the way")
    with pytest.raises(SurroundingsError):
        store.write(tmp_path / "cells" / "k.json", {})


def test_keys() -> None:
    assert store.key_of({"a": 1, "b": 2}) == store.key_of({"b": 2, "a": 1}) != store.key_of({"a": 1, "b": 3})
