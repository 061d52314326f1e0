"""The open face: 256 codes to how far the open body's jaw opens and to its ten expressions.

The codes stand for no published face. They are a fixed orthonormal mix (cosines) of eleven numbers, so that
networks made for 256 codes can be trained and shown without a licensed face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from avatarctl.errors import DataError

CODES, CONTROLS = 256, 11
"""Numbers in a face code; jaw and expressions."""
JAW_RADIANS = 0.1
"""A jaw control of 1 opens it so far; expressions are in the body model's standard deviations."""


@dataclass(frozen=True)
class Expression:
    """A face moving: `jaw` radians [T] and `coefficients` of the open SMPL-X body's expressions [T, 10]."""

    jaw: Tensor
    coefficients: Tensor


class Face:
    """The open face's codes, read and written."""

    def expression(self, codes: Tensor) -> Expression:
        """What codes [T, 256] show.

        Raises:
            DataError: They have another width.
        """
        if codes.dim() != 2 or codes.shape[1] != CODES:
            raise DataError(f"face codes: found {list(codes.shape)}; expected [T, {CODES}]")
        controls = codes.float() @ _mix()
        return Expression(controls[:, 0] * JAW_RADIANS, controls[:, 1:])

    def codes(self, expression: Expression) -> Tensor:
        """The codes [T, 256] of a face."""
        controls = torch.cat([expression.jaw[:, None] / JAW_RADIANS, expression.coefficients], dim=1)
        return controls.float() @ _mix().T


@cache
def _mix() -> Tensor:
    """The orthonormal columns of the codes [256, 11]."""
    places = torch.arange(CODES, dtype=torch.float64) + 0.5
    waves = torch.arange(1, CONTROLS + 1, dtype=torch.float64)
    return (math.sqrt(2 / CODES) * torch.cos(math.pi / CODES * places[:, None] * waves)).float()
