"""The exceptions that reach a user, and the exit code of each.

Every error says what is wrong, where, and what to do next, in one line. `exit_code` follows the table in docs/exit-codes.md.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes of every rnpc command."""

    OK = 0
    FINDING = 1
    USAGE = 2
    REFUSED = 3
    INCONCLUSIVE = 4
    SURROUNDINGS = 5
    DEFECT = 70
    INTERRUPTED = 130


class RnpcError(Exception):
    """Base of all errors that a command turns into one line: `where: what; todo`."""

    exit_code: Exit = Exit.DEFECT

    def __init__(self, what: str, *, where: str | None = None, todo: str | None = None) -> None:
        self.what, self.where, self.todo = what, where, todo
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        line = f"{line}; {self.todo}" if self.todo else line
        return " ".join(line.split())


class UsageError(RnpcError):
    """The command line contradicts itself or names something that does not exist."""

    exit_code = Exit.USAGE


class InputRefused(RnpcError):
    """A model, data set, label or preprocessing that cannot be worked on."""

    exit_code = Exit.REFUSED


class UnsupportedOperator(InputRefused):
    """Nodes for which no rule is known: `nodes` holds (node name, domain, op_type, opset version)."""

    def __init__(self, nodes: list[tuple[str, str, str, int]], *, where: str) -> None:
        self.nodes = nodes
        listed = ", ".join(f"{op} (node {name}, {domain or 'ai.onnx'} opset {version})" for name, domain, op, version in nodes)
        super().__init__(f"unsupported operators: {listed}", where=where, todo="see docs/operators.md for what is supported")


class Inconclusive(RnpcError):
    """Too little data or evidence for a decision; nothing was written."""

    exit_code = Exit.INCONCLUSIVE


class SurroundingsError(RnpcError):
    """Output not writable, a missing extra or provider, out of memory."""

    exit_code = Exit.SURROUNDINGS
