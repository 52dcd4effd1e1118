"""The twin: the user's ONNX graph as a torch module that can be trained, masked and looked into."""

from rnpc.twin.build import build
from rnpc.twin.module import Twin

__all__ = ["Twin", "build"]
