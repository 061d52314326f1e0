"""The networks of an avatar."""
