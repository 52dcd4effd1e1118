"""The subject: what a method works on is what the user's model is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from rnpc.program import Preprocessing
from rnpc.study.case import Case
from rnpc.study.subject import AREA, Subject, stored


def test_normalise_follows_the_preprocessing(subject: Subject) -> None:
    x = torch.rand(2, 3, 8, 8)
    pre = Preprocessing(8, 8, layout="NHWC", mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0), scale=1.0, channel_order="BGR")
    found = replace(subject, pre=pre).normalise(x)
    want = (x.flip(1) * 255 - torch.tensor([10.0, 20.0, 30.0])[:, None, None]) / torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    assert torch.allclose(found, want.permute(0, 2, 3, 1), atol=1e-4)


def test_large_images_come_in_smaller_batches(subject: Subject) -> None:
    side = int(AREA**0.5)
    sizes = [replace(subject, pre=Preprocessing(side * k, side * k)).at_once(128) for k in (1, 2, 4, 40)]
    assert sizes == [128, 32, 8, 1] and subject.at_once(16) == 16
    assert replace(subject, pre=Preprocessing(4000, 4000)).at_once(16, least=4) == 4


def test_images_are_stored_as_bytes_and_worked_on_as_shares(case: Case) -> None:
    assert case.learn.stored.dtype == torch.uint8
    pixels = case.learn.pixels()
    assert pixels.dtype == torch.float32 and torch.equal(pixels, case.learn.stored.float() / 255)
    parts = list(case.learn.parts(7))
    assert torch.equal(torch.cat([p for p, _ in parts]), pixels) and torch.equal(torch.cat([t for _, t in parts]), case.learn.labels)


def test_scores_do_not_depend_on_the_batch(case: Case) -> None:
    whole = case.subject.logits(case.judge.pixels())
    assert torch.allclose(case.subject.scores(case.judge), whole, atol=1e-5)


def test_images_that_cannot_be_written_to_are_copied() -> None:
    """As of a file's bytes: torch warns of sharing such memory, and warnings are errors here."""
    images = np.frombuffer(bytes(range(32)), np.uint8).reshape(2, 4, 4, 1)
    found = stored(images)
    assert found.shape == (2, 1, 4, 4) and np.array_equal(found[:, 0].numpy(), images[..., 0])
    found[0] = 0
    assert images[0, 3, 3, 0] == 15
