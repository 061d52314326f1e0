"""SAGE Net: the motion of the whole body from a headset and two controllers (CVPR 2024, arXiv 2405.20786)."""
