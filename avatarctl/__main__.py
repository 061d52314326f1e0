"""python -m avatarctl."""

from avatarctl.cli.main import script

if __name__ == "__main__":
    script()
