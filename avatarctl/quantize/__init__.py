"""Codebooks: nearest codes, straight-through gradients, dead codes moved back to the data."""

from avatarctl.quantize.codebook import ProductCodebook, Quantized
from avatarctl.quantize.residual import ResidualCodebook, kmeans, perplexity

__all__ = ["ProductCodebook", "Quantized", "ResidualCodebook", "kmeans", "perplexity"]
