"""Metrics: tensors in, numbers out; running means; and tables that stand beside published numbers."""

from avatarctl.metrics.table import Column, Row, Table
from avatarctl.metrics.tally import Tally

__all__ = ["Column", "Row", "Table", "Tally"]
