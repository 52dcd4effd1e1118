"""Defenses that cost nothing, for tests of the bench itself."""

from __future__ import annotations

import os
import time

from rnpc import frontends
from rnpc.bench.hardening import Hardened, Request


def harden(request: Request) -> Hardened:
    """Ranks channels by their place. Calls models with a trigger backdoored with label 3 (the kept form only by force), others clean."""
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    program = frontends.load(request.model)
    ranking = [(site.value, channel, 0.0) for site in program.sites[-2:] for channel in range(site.channels)]
    if not request.model.with_name("trigger.onnx").is_file() or (request.model.name == "batchnorm.onnx" and not request.force):
        return Hardened("clean", (), 0, program.channels, None, program.source, (), {})
    return Hardened("backdoored", ((3, 0.9),), 0, program.channels, None, program.source, tuple(ranking), {})


def fail(request: Request) -> Hardened:
    """While FAKE_FAILS is set, fails on the folded form, and takes its process with it on a clean victim's other one."""
    if os.environ.get("FAKE_FAILS"):
        if request.model.name == "folded.onnx":
            raise ValueError("no luck")
        if not request.model.with_name("trigger.onnx").is_file():
            os._exit(9)
    return harden(request)
