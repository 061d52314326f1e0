"""What SMPL tools read: the AMASS archive, and the published animation pickle (spec sparse-tracking 8)."""

from __future__ import annotations

import pickle
from pathlib import Path

from avatarctl.body import BodyModel
from avatarctl.body.tables import NUM_BODY
from avatarctl.files import atomic
from avatarctl.motion import Motion

PROTOCOL = 3
"""The last one that names functions by plain text, see `write_pickle`."""


def write_npz(motion: Motion, body: BodyModel, path: str | Path) -> Path:
    """Write an AMASS archive of the motion's own skeleton; the body's pelvis serves to turn it z up."""
    return motion.to_up("z", body.shape(motion.betas).joints[0]).write(path)


def write_pickle(motion: Motion, body: BodyModel, path: str | Path) -> Path:
    """Write a dictionary of `poses` [T, 66] and `trans` [T, 3], float32, z up, that any numpy reads."""
    motion = motion.to_up("z", body.shape(motion.betas).joints[0])
    content = {
        "poses": motion.body_poses(NUM_BODY).flatten(1).float().numpy(),
        "trans": motion.root.float().numpy(),
    }
    raw = pickle.dumps(content, protocol=PROTOCOL)
    # numpy 2 moved the function that rebuilds arrays; its old name works in all versions.
    raw = raw.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
    with atomic(path) as temporary:
        temporary.write_bytes(raw)
    return Path(path)
