"""Codebooks: nearest codes, straight-through gradients, dead codes moved back to the data."""

from avatarctl.quantize.codebook import ProductCodebook, Quantized

__all__ = ["ProductCodebook", "Quantized"]
