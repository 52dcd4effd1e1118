"""The forms of an inverted trigger, one file each, found by name."""

from __future__ import annotations

from rnpc.study.forms.additive import Additive
from rnpc.study.forms.base import Change, Form, Parts, start
from rnpc.study.forms.drawn import Drawn
from rnpc.study.forms.patch import Patch
from rnpc.study.forms.warp import Warp

FORMS: dict[str, Form] = {form.name: form for form in (Additive(), Patch(), Warp(), Drawn())}
PIXELS = ("additive", "patch")
"""The forms that change values where they are."""
PRICED = (*PIXELS, "warp")
"""The forms in which a search for the cheapest makes sense."""

__all__ = ["FORMS", "PIXELS", "PRICED", "Change", "Form", "Parts", "start"]
