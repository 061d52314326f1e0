"""Discovery of plugins, first-party and third-party alike."""
