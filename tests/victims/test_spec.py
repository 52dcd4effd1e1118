"""VictimSpec: canonical JSON, its key, and fields that make no sense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rnpc.errors import UsageError
from rnpc.victims.spec import VictimSpec


def test_round_trip() -> None:
    spec = VictimSpec("badnets", target="next", settings=(("size", 4), ("row", 2)))
    again = VictimSpec.from_document(json.loads(spec.to_json()))
    assert again == spec and again.key == spec.key
    assert spec.settings == (("row", 2), ("size", 4))


def test_key_tells_specs_apart() -> None:
    assert len({VictimSpec("badnets", seed=s, epochs=e).key for s in (1, 2) for e in (3, 4)}) == 4


def test_later_fields_leave_the_keys_of_a_protocol_alone() -> None:
    assert VictimSpec("badnets").key == "69ede32fa9cb0d5a71ee76e1fa0549cac99ceeffa2173f0655dc6937b030bcc0"
    assert "schedule" not in VictimSpec("none", schedule="one-cycle").document()


def test_later_fields_round_trip() -> None:
    spec = VictimSpec("none", schedule="steps", descends="pruned")
    assert VictimSpec.from_document(json.loads(spec.to_json())) == spec
    assert len({spec.key, VictimSpec("none").key, VictimSpec("none", schedule="steps").key}) == 3


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"arch": "lenet"}, "lenet: no such architecture; choose one of resnet18, preactresnet18, vgg16"),
        ({"dataset": "svhn"}, "svhn: no such data set; choose one of gtsrb, cifar10, mnist"),
        ({"attack": "trojans"}, "trojans: no such attack"),
        ({"fraction": 0}, "fraction cannot be 0"),
        ({"epochs": 0}, "epochs cannot be 0"),
        ({"width": -1}, "width cannot be -1"),
        ({"widht": 3}, "no field named widht"),
        ({"epochs": "many"}, "wrong type"),
        ({"schedule": "cosine"}, "choose one-cycle or steps"),
        ({"attack": "none", "descends": "distilled"}, "choose one of finetuned, pruned, quantised"),
        ({"descends": "pruned"}, "only clean victims have descendants"),
        ({"settings": {"sise": 3}}, "no setting named sise"),
    ],
)
def test_wrong(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        VictimSpec.from_document({"attack": "badnets", **fields})


def test_attack_is_needed() -> None:
    with pytest.raises(UsageError, match="attack is missing"):
        VictimSpec.from_document({})


def test_seed_reaches_the_trigger() -> None:
    assert VictimSpec("blend", seed=7).create().seed == 7
    assert VictimSpec("blend", seed=7, settings=(("seed", 1),)).create().seed == 1
