"""Evaluation mode for a while."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avatarctl.engine import evaluating


def test_every_submodule_goes_back_to_its_own_mode():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    model[1].eval()  # a frozen part inside a network that trains

    with evaluating(model) as (found,):
        assert not any(module.training for module in found.modules())
        assert not torch.is_grad_enabled()

    assert (model.training, model[0].training) == (True, True)
    assert (model[1].training, model[1][0].training) == (False, False)
    assert torch.is_grad_enabled()


def test_a_failing_evaluation_leaves_the_modes_as_they_were():
    model = nn.Dropout()

    with pytest.raises(ValueError, match="broken"), evaluating(model):
        raise ValueError("broken")

    assert model.training
