"""Rotations, kinematics, skinning and cameras: tensors in, tensors out."""
