"""avatarctl: one command-line toolbox for digital humans."""

__version__ = "0.1.0"
