"""To the modules of the `smplx` package, for everybody else's code."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import smplx

    from avatarctl.body.model import BodyModel


def to_smplx(model: BodyModel) -> smplx.SMPL:
    """A `smplx` module with the same arrays; hand poses are full axis-angle, absolute (no PCA, flat mean)."""
    model = model.to("cpu")
    vertices, joints = model.template.shape[0], model.num_joints
    arrays: dict[str, Any] = dict(
        v_template=model.template.numpy(),
        f=model.faces.numpy(),
        shapedirs=model.shape_directions.numpy(),
        posedirs=model.pose_directions.numpy().T.reshape(vertices, 3, 9 * (joints - 1)),
        J_regressor=model.regressor.numpy(),
        weights=model.weights.numpy(),
        kintree_table=np.array([[0, *model.parents[1:]], range(joints)]),
        **{name: array.numpy() for name, array in model.extras.items()},
    )
    module = _module(model, arrays)
    # The vertices that stand for nose, toes and fingertips exist on the licensed meshes only.
    module.vertex_joint_selector.extra_joints_idxs.clamp_(max=vertices - 1)
    return module


def _module(model: BodyModel, arrays: dict[str, Any]) -> smplx.SMPL:
    import smplx
    from smplx.utils import Struct

    options = {"gender": model.gender, "num_betas": min(10, model.num_betas), "dtype": model.template.dtype}
    if model.family == "smpl":
        return smplx.SMPL("", data_struct=Struct(**arrays), **options)
    options |= {"use_pca": False, "flat_hand_mean": True}
    if model.family == "smplh":
        return smplx.SMPLH("", data_struct=Struct(**arrays), **options)
    with tempfile.TemporaryDirectory() as folder:  # this class reads files only
        np.savez(Path(folder) / "SMPLX_NEUTRAL.npz", **arrays)
        path = str(Path(folder) / "SMPLX_NEUTRAL.npz")
        return smplx.SMPLX(path, num_expression_coeffs=model.expressions, **options)
