"""Names of tensors in a published layout and ours, one-to-one in both directions."""

from __future__ import annotations

from collections.abc import Iterable


class KeyMap:
    """Renames runs of dotted words; words that no rule names stay as they are.

    Args:
        rules: Pairs (ours, theirs) of dotted words, such as ("encoder", "encoder_stacks.0"). At each place
            the longest rule that fits is taken.
    """

    def __init__(self, rules: Iterable[tuple[str, str]]) -> None:
        pairs = [(ours.split("."), theirs.split(".")) for ours, theirs in rules]
        self._theirs_first = sorted(pairs, key=lambda pair: -len(pair[1]))
        self._ours_first = sorted(((theirs, ours) for ours, theirs in pairs), key=lambda pair: -len(pair[1]))

    def ours(self, name: str) -> str:
        """Our name of a published one."""
        return _rename(name, self._theirs_first)

    def theirs(self, name: str) -> str:
        """The published name of one of ours."""
        return _rename(name, self._ours_first)


def _rename(name: str, pairs: list[tuple[list[str], list[str]]]) -> str:
    words, renamed, place = name.split("."), list[str](), 0
    while place < len(words):
        for new, old in pairs:
            if words[place : place + len(old)] == old:
                renamed += new
                place += len(old)
                break
        else:
            renamed.append(words[place])
            place += 1
    return ".".join(renamed)
