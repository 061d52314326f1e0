"""Named shape checks for the borders of the maths packages."""

from __future__ import annotations

import torch


def expect(tensor: torch.Tensor, shape: str, name: str) -> dict[str, int]:
    """Sizes of the named dimensions of a tensor, or a `ValueError` that names the argument.

    Args:
        shape: Dimensions separated by blanks: numbers, letters (equal letters mean equal sizes), and
            a leading "..." for any number of dimensions, for example "... J 3".
        name: The argument, for the message.
    """
    wanted = shape.split()
    found = list(tensor.shape)
    sizes: dict[str, int] = {}
    if wanted[0] == "...":
        wanted = wanted[1:]
        tail = found[len(found) - len(wanted) :] if len(found) >= len(wanted) else None
    else:
        tail = found if len(found) == len(wanted) else None
    matches = tail is not None and all(
        int(want) == size if want.isdigit() else sizes.setdefault(want, size) == size
        for want, size in zip(wanted, tail, strict=True)
    )
    if not matches:
        raise ValueError(f"{name} has shape {found}, expected [{shape}]")
    return sizes
