"""An animatable person from videos: shape and colour as fields around a body model (HF-Avatar / PGAHum).

Paper: arXiv 2404.13862. No trained checkpoint of it was ever published.
"""
