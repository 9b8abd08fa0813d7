"""Text from other people, made safe to print on a terminal. No I/O."""

from __future__ import annotations

import unicodedata

# Control (Cc), invisible formatting such as direction overrides (Cf), lone surrogates (Cs), line and paragraph
# separators (Zl, Zp): each can move the cursor, hide or reorder what is around it, or fake a line of somebody else's.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners: emoji and several scripts are wrong without them, and all they join is the letters around them.
_JOINERS = frozenset({"\u200c", "\u200d"})
_AS_SPACE = frozenset({"\t"})
_AS_RETURN = frozenset({"\n", "\u2028", "\u2029"})


def printable(text: str) -> str:
    """`text` in one line, without anything that a terminal would act on.

    A line break becomes ` ⏎ `, a tab a space, and every other control or invisible character its escape, as
    `\\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text.replace("\r\n", "\n"))


def _shown(character: str) -> str:
    if character in _AS_RETURN:
        return " ⏎ "
    if character in _AS_SPACE:
        return " "
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
