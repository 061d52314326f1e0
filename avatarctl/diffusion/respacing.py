"""Which steps of a diffusion process are kept when it is sampled with fewer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from avatarctl.errors import UsageError


def leading_steps(steps: int, kept: int) -> list[int]:
    """`kept` of the original step numbers, evenly spaced from 0, the noisiest first ("leading" spacing)."""
    stride = steps // kept
    return [stride * index for index in reversed(range(kept))]


def strided_steps(steps: int, kept: int) -> list[int]:
    """Exactly `kept` step numbers with the smallest whole stride below `steps`, ascending; [] where none."""
    strides = (range(0, steps, stride) for stride in range(1, steps))
    return next((list(found) for found in strides if len(found) == kept), [])


def strided_counts(steps: int) -> list[int]:
    """How many of so many steps a smaller whole stride can keep, ascending."""
    return sorted({len(range(0, steps, stride)) for stride in range(1, steps)})


def sectioned_steps(steps: int, counts: Sequence[int]) -> list[int]:
    """Step numbers, ascending: so many of each of several equal sections, from its first to its last step.

    Raises:
        UsageError: A section has fewer steps than are to be kept of it.
    """
    size, longer = divmod(steps, len(counts))
    kept: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        length = size + (section < longer)
        if not 1 <= count <= length:
            raise UsageError(
                f"steps {','.join(map(str, counts))}: {count} of section {section + 1}, which has {length}",
                hint=f"{len(counts)} sections of {steps} steps keep 1 to {size} each",
            )
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        place = 0.0  # summed, not multiplied: the published rounding depends on it
        for _ in range(count):
            kept.append(start + round(place))
            place += stride
        start += length
    return kept


def kept_steps(words: str, steps: int) -> list[int]:
    """Step numbers, ascending, that "", "ddim50", "50" or "10,20,30" keep of so many.

    A single number is what "ddim" and the number is: a whole stride from 0. Several are counts of equal
    sections; no words keep every step.

    Raises:
        UsageError: The words are none of these, or no such number can be kept; the hint lists those that can.
    """
    words = words.strip()
    if not words:
        return list(range(steps))
    if single := re.fullmatch(r"(?:ddim)?(\d{1,9})", words):
        if found := strided_steps(steps, int(single[1])):
            return found
        counts = ", ".join(map(str, strided_counts(steps)))
        raise UsageError(
            f"steps {words}: no whole stride keeps exactly {int(single[1])} of {steps} steps",
            hint=f"possible are {counts}",
        )
    if re.fullmatch(r"\d{1,9}(\s*,\s*\d{1,9})+", words):
        return sectioned_steps(steps, [int(word) for word in words.split(",")])
    raise UsageError(
        f"steps {words}: expected a number, or counts of equal sections",
        hint="such as 50, ddim100 or 10,20,30",
    )
