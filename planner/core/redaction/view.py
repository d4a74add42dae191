"""Readings of a text that remember where each of their characters came from.

Personal data hides behind look-alike characters, escapes and spelled-out words. Each of these is undone in a `View`:
a rewritten text whose spans translate back to spans of the original. Detectors look at plain text only and never
change it; only the original is ever cut.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from planner.core.text import MARKER

# What a marker already in the text looks like to detectors: a noncharacter that belongs to no pattern, so that
# nothing is ever found across one or inside one. That is half of why redacting twice changes nothing.
BARRIER = "\uffff"

Span = tuple[int, int]
Edit = tuple[int, int, str]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A reading of `parent`, or of the original text if there is none."""

    text: str
    parent: View | None = None
    edits: list[Edit] = field(default_factory=list)
    """What was rewritten: start and end in the parent, and the new text; in order, never overlapping."""
    ends: list[int] = field(default_factory=list)
    """Where each edit's new text ends in this view."""

    def original(self, span: Span) -> Span:
        """Translate a non-empty span of this view to the span of the original text that it was read from."""
        view, (start, end) = self, span
        while view.parent is not None:
            start, end = view._parent_start(start), view._parent_end(end)
            view = view.parent
        # A mark that was drawn over the last character goes with it.
        while end < len(view.text) and unicodedata.category(view.text[end]) in _MARKS:
            end += 1
        return start, end

    def _parent_start(self, position: int) -> int:
        # The first edit that ends after the position either holds it or begins behind it.
        index = bisect_right(self.ends, position)
        if index < len(self.ends):
            start, _, new = self.edits[index]
            if position >= self.ends[index] - len(new):
                return start
        return self._shifted(position, index)

    def _parent_end(self, position: int) -> int:
        last = position - 1
        index = bisect_right(self.ends, last)
        if index < len(self.ends):
            _, end, new = self.edits[index]
            if last >= self.ends[index] - len(new):
                return end
        return self._shifted(last, index) + 1

    def _shifted(self, position: int, edits_before: int) -> int:
        if not edits_before:
            return position
        return self.edits[edits_before - 1][1] + position - self.ends[edits_before - 1]


def rewrite(view: View, edits: Iterable[Edit]) -> View:
    """Apply edits (ordered, not overlapping) to a view; the same view if there are none."""
    kept: list[Edit] = []
    ends: list[int] = []
    parts: list[str] = []
    copied = length = 0
    for edit in edits:
        start, end, new = edit
        parts += (view.text[copied:start], new)
        length += start - copied + len(new)
        copied = end
        kept.append(edit)
        ends.append(length)
    if not kept:
        return view
    parts.append(view.text[copied:])
    return View("".join(parts), view, kept, ends)


def substitute(view: View, pattern: re.Pattern[str], new: str) -> View:
    """Replace every match of a pattern by the same text."""
    return rewrite(view, ((found.start(), found.end(), new) for found in pattern.finditer(view.text)))


_FOREIGN = re.compile(r"[^\x00-\x7f]|\[REDACTED\]")
_LOOK_ALIKES = {
    **dict.fromkeys("\u2212\u2043\u02d7\u2796", "-"),
    **dict.fromkeys("\u00b7\u2022\u2027\u2219\u22c5\u3002\u30fb\u06d4", "."),
    **dict.fromkeys("\u2044\u2215\u29f8", "/"),
    **dict.fromkeys("\u2795", "+"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    "\u0130": "I",  # the only letter whose lower case is longer than itself
    MARKER: BARRIER,
}
_MARKS = {"Mn", "Me"}
_INVISIBLE = {"Cf", *_MARKS}
_BLANK = {"Zs", "Zl", "Zp", "Cc", "Cn", "Co", "Cs"}


@lru_cache(maxsize=8192)
def plain(character: str) -> str:
    """Give a character's plain look: ASCII digits, hyphens, dots and blanks; nothing for what cannot be seen."""
    if character in _LOOK_ALIKES:
        return _LOOK_ALIKES[character]
    category = unicodedata.category(character)
    if category in _INVISIBLE:
        return ""
    if category in _BLANK:
        return " "
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(character))
    compatible = unicodedata.normalize("NFKC", character)
    return "".join(_LOOK_ALIKES.get(part, part) for part in compatible)


def folded(text: str) -> View:
    """Read a text with look-alike characters made plain, invisible ones left out and markers made barriers."""
    view = View(text)
    if text.isascii() and MARKER not in text:
        return view
    return rewrite(view, ((at.start(), at.end(), plain(at.group())) for at in _FOREIGN.finditer(text)))


def lowered(view: View) -> View:
    """Read a folded view in lower case; every character stays where it is."""
    return View(view.text.lower(), view)
