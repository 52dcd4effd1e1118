"""Tensors this small gain nothing from a second thread."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread for all tests of this room."""
    torch.set_num_threads(1)
