"""From posed points to the canonical body and back (spec 4.8)."""
