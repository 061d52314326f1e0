"""EgoBody: its files, frames and transforms."""
