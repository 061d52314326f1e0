"""audio2photoreal: face, body and a rendered person from two voices (CVPR 2024, arXiv 2401.01885)."""
