"""rnpc: a compiler pass that hardens image classifiers against backdoors (see docs/method.md)."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "harden"]


def __getattr__(name: str) -> Any:
    # Deferred, so that `rnpc --help` pays for neither torch nor onnxruntime.
    if name == "harden":
        from rnpc.api import harden

        return harden
    raise AttributeError(name)
