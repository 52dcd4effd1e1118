"""The twin's operators, a file a family; importing this package fills `rnpc.twin.node.OPERATORS`."""

from rnpc.twin.ops import activation, arithmetic, conv, logic, make, matrix, norm, pool, quantised, reduce, resize, select, shape, unary

__all__ = [
    "activation",
    "arithmetic",
    "conv",
    "logic",
    "make",
    "matrix",
    "norm",
    "pool",
    "quantised",
    "reduce",
    "resize",
    "select",
    "shape",
    "unary",
]
