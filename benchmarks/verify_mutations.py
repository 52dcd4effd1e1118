"""Does `rnpc verify` refuse every single edit of a hardened file, and pass every untouched one?

    python benchmarks/verify_mutations.py [--edits 400] [--plans 20] [--seed 0]

The demo's model is hardened by random plans. Each edit takes one such file and changes one thing in it: a bit of a weight or a bias, a
number of an attribute, an edge, a name, an entry of the metadata (with the seal made to fit, too), an unknown field, a node more or less, a
byte anywhere, or a byte of the original's external data. Whatever is edited through protobuf starts from files that protobuf writes
back byte for byte, so that the edit is the only difference. The file's own plan and a trusted one are both tried. Printed for each
kind: how many were tried, how many were refused, and one difference as verify words it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto

from rnpc.errors import InputRefused
from rnpc.models import demo
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.wire import external, provenance
from rnpc.passes.wire import walk as wire
from rnpc.plan import Plan, silence

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """An original, a plan, and the hardened file."""

    source: bytes
    plan: Plan
    hardened: bytes


def cases(count: int, rng: Rng) -> list[Case]:
    """The demo's model, hardened by random plans."""
    source = ModelProto.FromString((Path(demo.__file__).parent / "model.onnx").read_bytes()).SerializeToString()
    sites = find_sites(onnx.load_from_string(source))
    found = []
    for _ in range(count):
        chosen = {
            sites[k].value: {int(c): float(np.float32(rng.normal())) for c in rng.choice(sites[k].channels, 2, replace=False)}
            for k in rng.choice(len(sites), 4, replace=False)
        }
        plan = Plan("random", 0, digest(source), "", silence(sites, chosen))
        hardened = apply(source, plan).data
        assert ModelProto.FromString(hardened).SerializeToString() == hardened, "protobuf does not write the file back as it was"
        found.append(Case(source, plan, hardened))
    return found


def digest(source: bytes) -> str:
    """The digest that a plan names."""
    return hashlib.sha256(source).hexdigest()


def bit(data: bytes, at: int, rng: Rng) -> bytes:
    """The bytes with one bit of byte `at` turned."""
    out = bytearray(data)
    out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def in_tensor(data: bytes, rng: Rng, ranks: tuple[int, ...]) -> bytes:
    """One bit of one element of a stored tensor of one of these ranks."""
    tensors = [t for t in wire.index(data).values() if len(t.dims) in ranks and t.storage == "raw" and t.size]
    chunk = tensors[rng.integers(len(tensors))].chunks[0]
    return bit(data, int(rng.integers(chunk.start, chunk.end)), rng)


def through(change: Callable[[ModelProto, Rng], None]) -> Callable[[bytes, Rng], bytes]:
    """An edit of the parsed model."""

    def edit(data: bytes, rng: Rng) -> bytes:
        model = ModelProto.FromString(data)
        change(model, rng)
        return model.SerializeToString()

    return edit


def pick(model: ModelProto, rng: Rng, fits: Callable[[NodeProto], bool] = lambda _: True) -> NodeProto:
    """A random node."""
    nodes = [node for node in model.graph.node if fits(node)]
    return nodes[rng.integers(len(nodes))]


def attribute(model: ModelProto, rng: Rng) -> None:
    """One number of an attribute."""
    node = pick(model, rng, lambda n: any(a.ints or a.type == AttributeProto.INT for a in n.attribute))
    entries = [a for a in node.attribute if a.ints or a.type == AttributeProto.INT]
    entry = entries[rng.integers(len(entries))]
    if entry.ints:
        entry.ints[rng.integers(len(entry.ints))] += int(rng.integers(1, 5))
    else:
        entry.i += int(rng.integers(1, 5))


def edge(model: ModelProto, rng: Rng) -> None:
    """One input of a node reads another value that there is."""
    node, names = pick(model, rng, lambda n: bool(n.input)), [name for n in model.graph.node for name in n.output]
    k = int(rng.integers(len(node.input)))
    node.input[k] = str(rng.choice([name for name in names if name != node.input[k]]))


def name(model: ModelProto, rng: Rng) -> None:
    """The name of a node, a value throughout, a tensor throughout, or the graph."""
    sort = int(rng.integers(4))
    if sort == 0:
        pick(model, rng).name += "_"
    elif sort == 1:
        model.graph.name += "_"
    else:
        old = str(rng.choice([t.name for t in model.graph.initializer])) if sort == 2 else pick(model, rng).output[0]
        for node in model.graph.node:
            node.input[:] = [f"{n}_" if n == old else n for n in node.input]
            node.output[:] = [f"{n}_" if n == old else n for n in node.output]
        for value in (*model.graph.initializer, *model.graph.output, *model.graph.value_info):
            value.name += "_" * (value.name == old)


def metadata(model: ModelProto, rng: Rng) -> None:
    """A changed, a lost or a further entry; half of the time with a seal that fits."""
    entry = model.metadata_props[rng.integers(len(model.metadata_props))]
    sort = int(rng.integers(3))
    if sort == 0:
        at = int(rng.integers(max(len(entry.value), 1)))
        entry.value = entry.value[:at] + ("0" if entry.value[at : at + 1] != "0" else "1") + entry.value[at + 1 :]
    elif sort == 1:
        model.metadata_props.remove(entry)
    else:
        model.metadata_props.add(key=str(rng.choice(["rnpc.more", "author"])), value="x")
    if rng.integers(2) and entry.key != provenance.SEAL:
        for found in model.metadata_props:
            if found.key == provenance.SEAL:
                found.value = provenance.seal(provenance.read(model))


def unknown(model: ModelProto, rng: Rng) -> None:
    """A field that onnx does not know, in any message."""
    holders = [model, model.graph, pick(model, rng), model.graph.initializer[rng.integers(len(model.graph.initializer))]]
    holders[rng.integers(4)].MergeFromString(wire.block(int(rng.integers(1000, 5000)), bytes(int(rng.integers(4)))))


def added(model: ModelProto, rng: Rng) -> None:
    """A node more: unused, or in the way of a value."""
    node = pick(model, rng, lambda n: bool(n.input))
    new = NodeProto(op_type="Identity", input=[node.input[0]], output=["more"])
    if rng.integers(2):
        node.input[0] = "more"
    model.graph.node.insert(int(rng.integers(len(model.graph.node))), new)


def removed(model: ModelProto, rng: Rng) -> None:
    """A node less, or a tensor."""
    items = model.graph.node if rng.integers(2) else model.graph.initializer
    del items[int(rng.integers(len(items)))]


EDITS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "weight": lambda data, rng: in_tensor(data, rng, (2, 4)),
    "bias": lambda data, rng: in_tensor(data, rng, (1,)),
    "attribute": through(attribute),
    "edge": through(edge),
    "name": through(name),
    "metadata": through(metadata),
    "unknown field": through(unknown),
    "added node": through(added),
    "removed": through(removed),
    "any byte": lambda data, rng: bit(data, int(rng.integers(len(data))), rng),
}


def refused(case: Case, hardened: bytes, source: bytes | None = None) -> list[str]:
    """What verify says of it, by the file's own plan and by the trusted one. Raises AssertionError where either passes it."""
    said = []
    for plan in (None, case.plan):
        try:
            found = verify(case.source if source is None else source, hardened, plan)
        except InputRefused as error:
            said.append(f"refused: {error.what}")
            continue
        assert found.result == "different" and found.differences, "an edit that passes"
        said += [str(found.differences[0])]
    return said


def external_byte(case: Case, rng: Rng, folder: Path) -> list[str]:
    """The original keeps its data in a file beside it, and one byte of that is changed after hardening."""
    model = onnx.load_from_string(case.source)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    raw = (folder / "m.onnx").read_bytes()
    source, _ = external.inline(raw, folder, "m.onnx")
    sites = find_sites(onnx.load_from_string(source))
    plan = Plan("random", 0, digest(source), "", silence(sites, {s.site: s.constants() for s in case.plan.sites}))
    own = Case(source, plan, apply(source, plan).data)
    assert verify(source, own.hardened, plan).result == "verified"
    content = (folder / "m.data").read_bytes()
    data = wire.index(raw)
    extent = [external.extent(raw, t, n, folder, "m") for n, t in data.items() if t.storage == "external"]
    place = extent[rng.integers(len(extent))]
    (folder / "m.data").write_bytes(bit(content, place.offset + int(rng.integers(place.length)), rng))
    return refused(own, own.hardened, external.inline(raw, folder, "m.onnx")[0])


def measure(edits: int, plans: int, seed: int) -> dict[str, list[list[str]]]:
    """Kind of edit -> for each edit what verify said. Raises AssertionError where one passes, or an untouched file does not."""
    rng = np.random.default_rng(seed)
    made = cases(plans, rng)
    for case in made:
        assert verify(case.source, case.hardened).result == "verified"
        assert verify(case.source, case.hardened, case.plan, require_hardened=True).result == "verified"
    found: dict[str, list[list[str]]] = {kind: [] for kind in (*EDITS, "external data")}
    with tempfile.TemporaryDirectory() as place:
        for k in range(edits):
            kind, case = list(found)[k % len(found)], made[k % plans]
            if kind == "external data":
                folder = Path(place) / str(k)
                folder.mkdir()
                found[kind].append(external_byte(case, rng, folder))
                continue
            edited = EDITS[kind](case.hardened, rng)
            assert edited != case.hardened, f"{kind}: nothing was edited"
            found[kind].append(refused(case, edited))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=400)
    parser.add_argument("--plans", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = measure(args.edits, args.plans, args.seed)
    print(f"{args.plans} untouched files pass, by their own plan and by a trusted one")
    for kind, said in found.items():
        print(f"{kind:14} {len(said):4} edits, all refused; e.g. {said[0][0][:140]}")
    print(f"{sum(map(len, found.values()))} edits, none passes")


if __name__ == "__main__":
    main()
