"""Recordings as they were published, one module for each data set."""
