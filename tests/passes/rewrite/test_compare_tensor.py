"""Elements that differ are counted in every type, and the first is shown with its byte."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnpc.passes.rewrite.compare import compare


def model(tensor: TensorProto) -> bytes:
    return bytes(helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int64])
def test_one_element_in_every_type(dtype: type) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    other = array.copy()
    other[1, 2] = 9
    one, two = (model(numpy_helper.from_array(a, "t")) for a in (array, other))
    (found,) = compare(one, two)
    assert found.kind == "tensor" and float(found.declared) == 6
    assert "1 of 12 elements differ, the first is 6" in found.found
    at = int(found.found.split("at byte ")[1].split()[0])
    assert one[:at] == two[:at] and one[at : at + array.itemsize] == array[1, 2].tobytes()


def test_numbers_of_no_fixed_size() -> None:
    one, two = (model(helper.make_tensor("t", TensorProto.INT32, [2], values)) for values in ([1, 2], [1, 3]))
    (found,) = compare(one, two)
    assert found.declared == "0x02" and found.found.startswith("0x03 at byte")


def test_only_the_order_of_fields() -> None:
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "t")
    plain = tensor.SerializeToString()
    turned = plain[4:] + plain[:4]  # dims and type behind name and data
    assert TensorProto.FromString(turned) == tensor
    one = model(tensor)
    two = one.replace(plain, turned)
    assert one != two and [d.kind for d in compare(one, two)] == ["encoding"]
