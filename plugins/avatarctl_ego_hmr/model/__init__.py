"""The networks of both stages, by the names of official checkpoints; `networks.py` builds and loads them."""
