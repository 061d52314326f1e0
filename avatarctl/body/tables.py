"""Joint names, parents and mirror pairs of the SMPL family."""

from __future__ import annotations

BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
FINGERS = ("index", "middle", "pinky", "ring", "thumb")

HEAD, LEFT_WRIST, RIGHT_WRIST = 15, 20, 21
NUM_BODY = len(BODY)


def _hand(side: str) -> tuple[str, ...]:
    return tuple(f"{side}_{finger}{link}" for finger in FINGERS for link in (1, 2, 3))


def _hand_parents(wrist: int, first: int) -> tuple[int, ...]:
    return tuple(
        wrist if link == 0 else first + 3 * finger + link - 1 for finger in range(5) for link in range(3)
    )


NAMES: dict[str, tuple[str, ...]] = {
    "smpl": (*BODY, "left_hand", "right_hand"),
    "smplh": (*BODY, *_hand("left"), *_hand("right")),
    "smplx": (*BODY, "jaw", "left_eye", "right_eye", *_hand("left"), *_hand("right")),
}
PARENTS: dict[str, tuple[int, ...]] = {
    "smpl": (*BODY_PARENTS, 20, 21),
    "smplh": (*BODY_PARENTS, *_hand_parents(20, 22), *_hand_parents(21, 37)),
    "smplx": (*BODY_PARENTS, 15, 15, 15, *_hand_parents(20, 25), *_hand_parents(21, 40)),
}
FAMILY_OF_JOINTS = {len(names): family for family, names in NAMES.items()}
GENDERS = ("neutral", "female", "male")


def mirror_pairs(family: str) -> tuple[int, ...]:
    """For each joint, the joint on the other side (itself on the midline)."""
    names = NAMES[family]
    other = {"left": "right", "right": "left"}
    swapped = []
    for name in names:
        side, _, rest = name.partition("_")
        swapped.append(names.index(f"{other[side]}_{rest}") if side in other else names.index(name))
    return tuple(swapped)
