"""What papers report (spec 7.3): only figures found in an independent summary of the paper, none recalled."""

from __future__ import annotations

from avatarctl.metrics import Row

NAMES = ("mpjre", "mpjpe", "mpjve", "handpe", "upperpe", "lowerpe", "rootpe", "pred_jitter")
_S1 = {
    "SAGE Net": (2.53, 3.28, 20.62, 1.18, 1.39, 6.01, None, 6.55),
    "AvatarJLM": (2.90, 3.35, None, None, None, 6.14, None, 8.39),
    "AGRoL (offline)": (2.66, 3.71, 18.59, None, None, 6.84, None, 7.26),
}
_S3 = {
    "SAGE Net": (2.41, 2.95, None, None, None, 5.37, None, None),
    "AGRoL (offline)": (None, None, None, None, None, 6.90, None, None),
}
TEST_CLIPS = {"S1": 536, "S2": 138, "S3": 1307}
"""Sequences in the published test splits (spec 2.4)."""
SOURCE = (
    "Published rows: tables of the SAGE Net paper (arXiv 2405.20786) as independent summaries quote them; "
    "a dash is a figure that none quotes."
)
NONE = "No figures of one half alone are published. MPJRE is the published variant (vectors subtracted)."
JITTER = 100.0
"""The papers print jitter in 10^2 m/s^3."""


def rows(protocol: str) -> list[Row]:
    """The published rows of a setting (S1, S3); of S1 for data that no paper reports on, none for S2."""
    table = {"S2": {}, "S3": _S3}.get(protocol, _S1)
    return [
        Row(
            f"{name}, {'S3' if table is _S3 else 'S1'}",
            {
                key: value * (JITTER if key == "pred_jitter" else 1.0)
                for key, value in zip(NAMES, values, strict=True)
                if value is not None
            },
            "published",
        )
        for name, values in table.items()
    ]


def note(protocol: str, is_open_body: bool) -> str:
    """What the scores may be compared with, and where the published rows are from."""
    words = [SOURCE]
    if protocol == "S2":
        words[0] = "No published figures of setting S2 could be confirmed."
    elif protocol not in TEST_CLIPS:
        words.append(f"They are of AMASS setting S1, these clips are '{protocol}'.")
    if is_open_body:
        words.append("Scores on the open body are not comparable with published ones (licensed body).")
    words.append("MPJRE is the published variant (vectors subtracted); AGRoL's rows use AGRoL's own.")
    return " ".join(words)
