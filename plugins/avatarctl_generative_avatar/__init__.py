"""New 3D people, learned from photo collections: AG3D (Dong et al., ICCV 2023; arXiv 2305.02312)."""
