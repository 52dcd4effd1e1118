"""An exported program (`.pt2`) -> Program, and the gate in front of torch.

`torch.export.load` trusts its archive: sample inputs that `weights_only` cannot read are unpickled in full, weights marked `use_pickle`
too, shapes are expressions that sympy evaluates, a node's target is looked up by its dotted name in all of torch, and an archive may
hold compiled code. So the archive is read here first: members of unknown kind, pickled objects, targets that are no plain operators and
expressions that are more than arithmetic are refused, unless the user trusts the file. What torch then sees is an archive
rebuilt from exactly the members that were checked.
"""

from __future__ import annotations

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.frontends.export import quiet, refuse, to_onnx
from rnpc.program import Program

PLAIN = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)|\.(format_version|storage_alignment)|extra/.*"
)
MODEL = re.compile(r"models/\w+\.json")
STORED = re.compile(r"data/(weights|constants)/(?P<file>[\w.]+)")
CONFIG = re.compile(r"data/(weights|constants)/\w+_config\.json")
SAMPLES = re.compile(r"data/sample_inputs/\w+\.pt")
ARITHMETIC = "add|sub|mul|truediv|floordiv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_"
TARGET = re.compile(rf"torch\.ops\.aten\.\w+\.\w+|_operator\.({ARITHMETIC})|math\.(ceil|floor|trunc)|torch\.sym_\w+")
CALLS = {"Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv"}
NODES = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
LIMIT = 2**31


def load(path: str | Path, trust: bool = False, output: str | None = None, study: bool = True) -> Program:
    """Read an exported program. Raises InputRefused for an archive that could run code (unless `trust`), or is no classifier."""
    path = Path(path)
    data = onnx_file.read(path)
    program = open_archive(data if trust else checked(data, path.name), path.name)
    return onnx_file.program(path.name, to_onnx(program, path.name), None, output, study)


def open_archive(data: bytes, name: str) -> ExportedProgram:
    """Let torch read the archive; guards, which are source code, are dropped."""
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(data))
    except Exception as error:
        raise refuse("torch.export.load cannot read the archive", name, error) from error
    program._guards_code = []
    return program


def checked(data: bytes, name: str) -> bytes:
    """A new archive of the same members. Raises InputRefused where one of them could run code when it is loaded."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > LIMIT:
                raise InputRefused("the archive unpacks to more than 2 GB", where=name, todo="rnpc handles models up to 2 GB")
            members = {info.filename: archive.read(info) for info in infos if not info.is_dir()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputRefused("a damaged archive", where=name, todo="save it again with torch.export.save") from error
    problem = "two members of one name" if len(members) < len([i for i in infos if not i.is_dir()]) else next(problems(members), None)
    if problem:
        raise InputRefused(f"the archive holds {problem}, which can run code", where=name, todo="pass --trust if you trust its source")
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(rebuilt, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return rebuilt.getvalue()


def problems(members: dict[str, bytes]) -> Iterator[str]:
    """What in the archive could run code."""
    for member, content in members.items():
        path = member.partition("/")[2]
        if PLAIN.fullmatch(path):
            continue
        if SAMPLES.fullmatch(path):
            yield from [] if plain_tensors(content) else [f"pickled objects ({path})"]
        elif MODEL.fullmatch(path) or CONFIG.fullmatch(path):
            yield from model_problems(content, path)
        elif not STORED.fullmatch(path):
            yield f"an unknown member ({path or member})"


def plain_tensors(content: bytes) -> bool:
    """Whether torch's restricted unpickler reads it."""
    try:
        with quiet():
            torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return not content
    return True


def model_problems(content: bytes, path: str) -> Iterator[str]:
    """Pickled weights, strange targets and expressions in a JSON member."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        yield f"an unreadable member ({path})"
        return
    for entry in objects(document):
        if entry.get("use_pickle", False) is not False:
            yield f"pickled objects (named in {path})"
        if "target" in entry and "inputs" in entry and not TARGET.fullmatch(str(entry["target"])):
            yield f"a node with target {str(entry['target'])[:60]!r}"
        if "expr_str" in entry and not arithmetic(entry["expr_str"]):
            yield f"the expression {str(entry['expr_str'])[:60]!r}"
        if any(isinstance(value, str) and "default_factory" in value for value in entry.values()):
            yield "a default_factory, which imports a module,"


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """All objects of a JSON document."""
    todo = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield item
        todo.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())


def arithmetic(text: Any) -> bool:
    """Whether an expression is arithmetic on symbols and numbers only."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in CALLS):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.isidentifier():
            return False
    return True
