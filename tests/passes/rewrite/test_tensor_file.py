"""Tensors go into a safetensors file and come back with their bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from rnpc.errors import InputRefused
from rnpc.passes.rewrite.tensor_file import dump, load


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int32, np.int64, np.bool_])
def test_round_trip(dtype: type) -> None:
    tensors = {"w": np.arange(6).reshape(2, 3).astype(dtype), "scalar": np.array(1).astype(dtype), "none": np.zeros((0, 2), dtype)}
    found = load(dump(tensors), "t")
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape and found[name].tobytes() == array.tobytes()


def test_equal_tensors_equal_bytes() -> None:
    one = {"b": np.ones(3, np.float32), "a": np.ones((2, 2), np.float32).T}
    assert dump(one) == dump(dict(reversed(one.items())))


@pytest.mark.parametrize("data", [b"", b"{}", b"\x80\x02}", dump({"a": np.ones(3, np.float32)})[:-1]])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InputRefused, match=r"w\.safetensors: no safetensors file"):
        load(data, "w.safetensors")


def test_types_that_onnx_does_not_keep_in_bytes() -> None:
    data = dump({"a": np.ones(8, np.int8)}).replace(b'"I8"', b'"C9"')
    with pytest.raises(InputRefused):
        load(data, "t")
