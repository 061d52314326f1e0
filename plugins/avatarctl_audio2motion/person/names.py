"""Which bones of a capture skeleton drive the SMPL joints, by their names.

Names are read without case, separators and prefixes; twist and helper bones are passed over. What the
patterns miss, a table `skeleton.csv` beside the assets says, as for BVH files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from avatarctl.body.tables import BODY, FINGERS, NAMES
from avatarctl.errors import DataError
from avatarctl.motion.rigs import HINT, Rig, read_rig
from avatarctl_audio2motion.avatar.skeleton import Skeleton

HELPERS = re.compile(r"twist|roll|proc|helper|null|nub|end$|tip$|ik$|pole|driver|scale|flex|bulge")
SIDES = {
    "left": re.compile(r"(?:^|(?<=[^a-zA-Z]))(?:[lL]eft|[lL])(?=[^a-z]|[A-Z]|$)|^l(?=[A-Z])|Left|left"),
    "right": re.compile(r"(?:^|(?<=[^a-zA-Z]))(?:[rR]ight|[rR])(?=[^a-z]|[A-Z]|$)|^r(?=[A-Z])|Right|right"),
}
LIMBS = {
    "hip": r"up(per)?leg|thigh|femur|hip$|hip", "knee": r"low(er)?leg|shin|calf|knee|tibia|leg",
    "ankle": r"foot|ankle|talocrural", "collar": r"clavicle|collar|shoulder",
    "shoulder": r"up(per)?arm|shldr|humerus|(?<!fore)(?<!low)(?<!lower)arm|shoulder",
    "elbow": r"low(er)?arm|fore(arm)?|elbow|ulna", "wrist": r"wrist|hand",
}  # fmt: skip
"""Words for a limb's joint, best first."""
TOE = r"ball|toe"
PINKY = {"pinky": r"pinky|little"}


def rig_of(skeleton: Skeleton, source: Path | str, table: Path | None = None) -> Rig:
    """The rig of a skeleton by the names of its bones, as changed by a user's table.

    Args:
        source: The skeleton's file, for messages.

    Raises:
        DataError: Some SMPL joint has no bone, which the message lists; or the table is wrong.
    """
    if set(NAMES["smplh"]) <= set(skeleton.names):
        joints: dict[str, tuple[str, ...]] = {name: (name,) for name in NAMES["smplh"]}
        return Rig("open", joints, {}, reference="zero_rotation", is_smpl=True)
    found = _Bones(skeleton)
    takes, bones = found.limbs()
    takes |= found.spine(takes)
    fingers, ends = found.fingers(takes)
    rig = Rig("capture", takes | fingers, bones | ends, reference="zero_rotation")
    if table is not None:
        return read_rig(table, skeleton.names, rig)
    missing = [joint for joint in BODY if joint not in takes and not joint.endswith("_foot")]
    if missing:
        raise DataError(
            f"{source}: no bone was recognised for {', '.join(missing)}; there is "
            f"{', '.join(skeleton.names[:40])}",
            hint=HINT,
        )
    return rig


class _Bones:
    """The bones of a skeleton by side, with their plain words."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.words: dict[str, list[tuple[int, str]]] = {"left": [], "right": [], "": []}
        for bone, name in enumerate(skeleton.names):
            side = next((side for side, pattern in SIDES.items() if pattern.search(name)), "")
            plain = re.sub(r"[^a-z0-9]", "", (SIDES[side].sub(" ", name, count=1) if side else name).lower())
            if not HELPERS.search(plain):
                self.words[side].append((bone, plain))

    def limbs(self) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        """SMPL limb joint to bone, and to the bone that its own leads to."""
        takes: dict[str, tuple[str, ...]] = {}
        bones: dict[str, str] = {}
        for side in ("left", "right"):
            chains = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
            for chain in chains:
                above = -1
                for kind in chain:
                    above = self._first(side, LIMBS[kind], above)
                    if above < 0:
                        break
                    takes[f"{side}_{kind}"] = (self.skeleton.names[above],)
            if f"{side}_shoulder" in takes:
                arm = self.skeleton.names.index(takes[f"{side}_shoulder"][0])
                collar = self._above(arm, side, LIMBS["collar"])
                if collar >= 0:
                    takes[f"{side}_collar"] = (self.skeleton.names[collar],)
            for one, two in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
                if f"{side}_{two}" in takes:
                    bones[f"{side}_{one}"] = takes[f"{side}_{two}"][0]
            for kind, words in (("ankle", TOE), ("wrist", r"mid(dle)?\d*|index\d*")):
                if f"{side}_{kind}" in takes:
                    end = self._first(side, words, self.skeleton.names.index(takes[f"{side}_{kind}"][0]))
                    if end >= 0:
                        bones[f"{side}_{kind}"] = self.skeleton.names[end]
        return takes, bones

    def spine(self, limbs: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Pelvis, spine, neck and head: what lies between the bone that carries both hips and the head."""
        names = self.skeleton.names
        head = self._first("", r"head", -1)
        hips = [limbs.get(f"{side}_hip", ("",))[0] for side in ("left", "right")]
        if head < 0 or "" in hips:
            return {}
        above = [set(self._line(names.index(hip))) for hip in hips]
        pelvis = max(above[0] & above[1] & set(self._line(head)), default=-1)
        line = [bone for bone in reversed(self._line(head)[1:]) if bone > pelvis]
        plain = dict(self.words[""])
        necks = [bone for bone in line if "neck" in plain.get(bone, "")]
        spine = [bone for bone in line if bone in plain and bone not in necks] or necks[:1]
        necks = [bone for bone in necks if "low" not in plain[bone]] or necks
        if pelvis < 0 or not spine:
            return {}
        last = len(spine) - 1
        found = {"spine1": spine[0], "spine2": spine[(last + 1) // 2], "spine3": spine[last]}
        found |= {"pelvis": pelvis, "neck": (necks or spine[-1:])[0], "head": head}
        return {joint: (names[bone],) for joint, bone in found.items()}

    def fingers(self, limbs: dict[str, tuple[str, ...]]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        """SMPL-H finger joint to bone, and to the next one; nothing where a finger of three is missing."""
        names = self.skeleton.names
        takes, bones = dict[str, tuple[str, ...]](), dict[str, str]()
        for side in ("left", "right"):
            wrist = limbs.get(f"{side}_wrist", ("",))[0]
            for finger in FINGERS:
                pattern = PINKY.get(finger, finger)
                line = [
                    bone
                    for bone, plain in self.words[side]
                    if wrist and re.search(pattern, plain) and names.index(wrist) in self._line(bone)
                ][-3:]
                if len(line) < 3:
                    return {}, {}
                for link, bone in enumerate(line, start=1):
                    takes[f"{side}_{finger}{link}"] = (names[bone],)
                for link, bone in enumerate(line[1:], start=1):
                    bones[f"{side}_{finger}{link}"] = names[bone]
        return takes, bones

    def _first(self, side: str, words: str, above: int) -> int:
        """The first bone of a side with one of the words, best word first, below a bone; else -1."""
        for word in words.split("|"):
            for bone, plain in self.words[side]:
                if re.search(word, plain) and bone != above and (above < 0 or above in self._line(bone)):
                    return bone
        return -1

    def _above(self, bone: int, side: str, words: str) -> int:
        """The nearest bone above one of the same side with one of the words; else -1."""
        plain = dict(self.words[side])
        return next((one for one in self._line(bone)[1:] if re.search(words, plain.get(one, "\0"))), -1)

    def _line(self, bone: int) -> Sequence[int]:
        """A bone and all above it, to the root."""
        line = [bone]
        while (bone := self.skeleton.parents[bone]) >= 0:
            line.append(bone)
        return line
