"""Unlearning forgets clean images, recovery keeps masks in [0, 1], and masks of one change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.program import FilterSite
from rnpc.study import unlearn as rnp
from rnpc.study.case import Case
from rnpc.twin import Twin

SCHEDULE = rnp.Schedule(unlearn_steps=40, recover_steps=15, batch=32, stop=0.4, epoch=2)
Masked = tuple[Twin, tuple[FilterSite, ...]]


@pytest.fixture
def masked(case: Case) -> Masked:
    """A twin with BatchNorm put back, and its sites."""
    return rnp.masked_twin(case, case.subject.model)


def test_batchnorm_put_back_changes_nothing(case: Case, masked: Masked) -> None:
    twin, sites = masked
    assert [site.kind for site in sites] == ["bn"] and sites[0].channels == 40
    x = case.subject.normalise(case.judge.pixels())
    with torch.no_grad():
        assert torch.allclose(twin(x), case.subject.twin(x), atol=1e-3)


def test_masks_of_one_are_the_identity(case: Case, masked: Masked) -> None:
    twin, sites = masked
    site = sites[0]
    assert site.bias is not None
    edit = rnp.shrink(torch.ones(site.channels), twin.parameter_of(site.bias), site.axis)
    x = case.subject.normalise(case.judge.pixels())
    with torch.no_grad():
        assert torch.allclose(twin(x, {site.value: edit}), twin(x), atol=1e-4)


def test_a_mask_of_zero_leaves_the_bias(masked: Masked) -> None:
    beta = torch.arange(4.0)
    edit = rnp.shrink(torch.tensor([0.0, 1.0, 0.0, 0.5]), beta, 1)
    out = edit(torch.full((2, 4, 3, 3), 10.0))
    assert out[0, :, 0, 0].tolist() == [0.0, 10.0, 2.0, 6.5]


def test_unlearning_lowers_accuracy(case: Case, masked: Masked) -> None:
    twin, _ = masked
    course = rnp.unlearn(case, twin, SCHEDULE)
    assert course[0].accuracy > course[-1].accuracy and course[-1].accuracy < 0.6
    assert course[-1].loss > course[0].loss
    assert all(point.votes.sum() == pytest.approx(1.0) and 0 <= point.accuracy <= 1 for point in course)
    assert [point.step for point in course] == sorted({point.step for point in course})


def test_masks_stay_in_bounds_and_lower_the_loss(case: Case, masked: Masked) -> None:
    twin, sites = masked
    rnp.unlearn(case, twin, SCHEDULE)
    masks, mean = rnp.recover(case, twin, sites, SCHEDULE)
    assert set(masks) == {site.value for site in sites}
    for site in sites:
        mask = masks[site.value]
        assert mask.shape == (site.channels,) and (mask >= 0).all() and (mask <= 1).all() and mask.min() < 1
        assert mean[site.value].shape == mask.shape and (mean[site.value] >= 0).all() and (mean[site.value] <= 1).all()


def test_a_seed_gives_the_same_masks(case: Case) -> None:
    found = []
    for _ in range(2):
        twin, sites = rnp.masked_twin(case, case.subject.kept)
        rnp.unlearn(replace(case, seed=7), twin, SCHEDULE)
        found.append(rnp.recover(replace(case, seed=7), twin, sites, SCHEDULE)[0])
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_the_subject_is_left_alone(case: Case, masked: Masked) -> None:
    before = [p.clone() for p in case.subject.twin.parameters()]
    rnp.unlearn(case, masked[0], SCHEDULE)
    assert all(torch.equal(a, b) for a, b in zip(before, case.subject.twin.parameters(), strict=True))


def test_batches_shrink_as_images_grow(case: Case) -> None:
    """32 images of 320 x 320 in train mode took 2 GB."""
    schedule, generator = rnp.Schedule(unlearn_steps=1, recover_steps=1, batch=32), torch.Generator().manual_seed(0)
    assert len(rnp.batch(case, schedule, generator)[0]) == 32
    large = replace(case, subject=replace(case.subject, pre=replace(case.subject.pre, height=320, width=320)))
    assert len(rnp.batch(large, schedule, generator)[0]) == 4
