"""Recorded conversations: reading the published folders, statistics, splits, crops and chunks."""
