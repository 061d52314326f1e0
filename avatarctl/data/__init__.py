"""Prepared data: the store and its writer."""

from avatarctl.data.store import Split, Store
from avatarctl.data.writer import StoreWriter, fingerprint

__all__ = ["Split", "Store", "StoreWriter", "fingerprint"]
