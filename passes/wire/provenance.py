"""What a hardened file says about itself: metadata appended to its bytes.

ModelProto.metadata_props is field 14, repeated, and protobuf accepts fields in any order, so entries are written behind the last byte and
nothing before them moves; `strip` takes them off again. The seal is a digest over all other entries: it shows tampering with one of them,
it proves nothing about who wrote them. They follow from the plan alone, no version or host is among them, so that whoever applies the plan
to the original gets these very bytes. A file that already carries entries is not hardened again: the plan in it would no longer lead from
the named original to the file.
"""

from __future__ import annotations

import hashlib
import json

from onnx import ModelProto

from rnpc.errors import InputRefused
from rnpc.passes.wire.walk import BYTES, Field, block, fields, text
from rnpc.plan import Plan

PREFIX = "rnpc."
SEAL = "rnpc.seal"
OPTIMISED = "rnpc.optimised"
"""In an optimised copy, which no plan covers: the digest of the hardened file that it was made from."""


def entries(plan: Plan) -> dict[str, str]:
    """The entries that declare a plan: plan (JSON), digests of original and data list, threshold (JSON number or null), seal."""
    declared = {
        "rnpc.plan": plan.to_json(),
        "rnpc.original": plan.original,
        "rnpc.data": plan.data,
        "rnpc.threshold": json.dumps(plan.threshold),
    }
    return {**declared, SEAL: seal(declared)}


def seal(declared: dict[str, str]) -> str:
    """SHA-256 (hex) over all entries but the seal, as canonical JSON."""
    rest = {key: value for key, value in declared.items() if key.startswith(PREFIX) and key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def intact(declared: dict[str, str]) -> bool:
    """Whether the seal fits the other entries."""
    return declared.get(SEAL) == seal(declared)


def append(data: bytes, declared: dict[str, str]) -> bytes:
    """The file with the entries behind its last byte. Raises InputRefused where it has such entries already."""
    if any(True for _ in ours(data)):
        raise InputRefused(
            "the model was already hardened by rnpc", where="provenance", todo="harden the original, or strip the provenance first"
        )
    return data + b"".join(block(14, block(1, key.encode()) + block(2, value.encode())) for key, value in declared.items())


def read(model: ModelProto) -> dict[str, str]:
    """The entries in a model; empty where it was not hardened."""
    found = {readable(entry.key): readable(entry.value) for entry in model.metadata_props}
    return {key: value for key, value in found.items() if key.startswith(PREFIX)}


def readable(value: str | bytes) -> str:
    """Text as text: protobuf hands out what is no UTF-8 as bytes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def strip(data: bytes) -> bytes:
    """The file without the entries; all other bytes as they are."""
    pieces, at = [], 0
    for field in ours(data):
        pieces.append(data[at : field.key])
        at = field.end
    return b"".join([*pieces, data[at:]])


def ours(data: bytes) -> list[Field]:
    """The metadata fields whose key is ours."""
    found = []
    for field in fields(data, 0, len(data)):
        if field.number == 14 and field.kind == BYTES:
            keys = [text(data, f) for f in fields(data, field.start, field.end) if f.number == 1]
            found += [field] if keys and keys[-1].startswith(PREFIX) else []
    return found
