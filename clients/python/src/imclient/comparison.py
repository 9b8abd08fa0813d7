"""What everybody must hold after a log was played, and how what they hold differs from it. Pure: no I/O.

Every function returns differences as lines for a person; an empty list means that all is as it must be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from imclient.frames import Entry, JsonObject
from imclient.ids import ConvId, UserId
from imclient.session import Arrival

# What a group may add to its own log while a chat log is played: who came, its name, and a seq that nothing took.
NOTICE_KINDS = frozenset({"members", "profile", "void"})


@dataclass(frozen=True, slots=True)
class Said:
    """One message as it was meant to arrive."""

    sender: UserId
    text: str

    def __str__(self) -> str:
        """With the text as a literal, so that no control character of it reaches a terminal."""
        return f"{self.sender} {self.text!a}"


def transcript_differences(who: str, said: Sequence[Said], entries: Sequence[Entry], last_seq: int) -> list[str]:
    """Compare a transcript with the log: seq 1 to `last_seq`, each once; `n` counts; the same messages in order."""
    found: list[str] = []
    for seq, times in Counter(entry.seq for entry in entries).items():
        if not 1 <= seq <= last_seq:
            found.append(f"{who}: seq {seq} is outside 1 to {last_seq}")
        if times > 1:
            found.append(f"{who}: seq {seq} is there {times} times")
    held = {entry.seq for entry in entries}
    found += [f"{who}: seq {seq} is missing" for seq in range(1, last_seq + 1) if seq not in held]
    if any(later.seq <= earlier.seq for earlier, later in pairwise(entries)):
        found.append(f"{who}: the entries are not in ascending order")

    count = 0
    for entry in entries:
        count += entry.countable
        if entry.n != count:
            found.append(f"{who}: seq {entry.seq} has n {entry.n}, but it is number {count}")
        if not entry.countable and entry.kind not in NOTICE_KINDS:
            found.append(f"{who}: seq {entry.seq} is an unexpected {entry.kind!a}")

    messages = [entry for entry in entries if entry.countable]
    for number, (expected, got) in enumerate(zip_longest(said, messages), start=1):
        if got is None:
            found.append(f"{who}: message {number} is missing: {expected}")
        elif expected is None:
            found.append(f"{who}: message {number} is too many: {_as_said(got)} (seq {got.seq})")
        elif got.kind != "text" or _as_said(got) != expected:
            found.append(f"{who}: message {number} must be {expected}, is {got.kind} {_as_said(got)} (seq {got.seq})")
    return found


def shown_twice(arrivals: Iterable[Arrival]) -> int:
    """How many entries a client would have shown again: new to it by seq, or by seq and cmid, but there before."""
    seqs: set[int] = set()
    cmids: set[str] = set()
    again = 0
    for arrival in arrivals:
        entry = arrival.entry
        if not arrival.new:
            continue
        again += entry.seq in seqs or entry.cmid in cmids
        seqs.add(entry.seq)
        if entry.cmid is not None:
            cmids.add(entry.cmid)
    return again


def unread_expected(said: Sequence[Said], user: UserId) -> int:
    """How many messages came after the user's own last one: all of them when they never wrote."""
    for after, message in enumerate(reversed(said)):
        if message.sender == user:
            return after
    return len(said)


def unread_differences(who: str, unread: JsonObject, conv: ConvId, expected: int) -> list[str]:
    """Compare a reply to `sync.unread` of a user who is in this one conversation only."""
    found: list[str] = []
    per_conversation: JsonObject = unread.get("conversations") or {}
    total = unread.get("total_unread")
    # Conversations without unread messages may be left out.
    counts = {name: count for name, count in per_conversation.items() if count != 0}
    if counts != ({conv: expected} if expected else {}):
        found.append(f"{who}: unread must be {expected} in {conv}, is {counts}")
    if total != sum(counts.values()):
        found.append(f"{who}: the total of unread is {total}, its parts are {counts}")
    return found


def inbox_differences(
    user: UserId, rows: Sequence[JsonObject], conv: ConvId, sent: Sequence[Entry], expected: int
) -> list[str]:
    """Compare the inbox rows of a user who is in this one conversation only.

    `sent` are the messages as the server accepted them, ascending and at least one.
    """
    if [row.get("conv") for row in rows] != [conv]:
        return [f"{user}: the inbox must have one row, for {conv}, and has {[row.get('conv') for row in rows]}"]
    row, last = rows[0], sent[-1]
    found: list[str] = []
    if row.get("last_seq") != last.seq:
        found.append(f"{user}: the inbox row has last_seq {row.get('last_seq')}, the conversation {last.seq}")
    if row.get("last_n") != last.n:
        found.append(f"{user}: the inbox row has last_n {row.get('last_n')}, the conversation {last.n}")
    if row.get("unread") != expected:
        found.append(f"{user}: the inbox row has unread {row.get('unread')}, it must be {expected}")
    read_n = row.get("read_n")
    if not isinstance(read_n, int) or max(0, last.n - read_n) != expected:
        found.append(f"{user}: the inbox row has read_n {read_n!r} of {last.n}, {expected} are unread")
    read_seq = row.get("read_seq")
    if not isinstance(read_seq, int):
        found.append(f"{user}: the inbox row has read_seq {read_seq!r}")
    else:
        # The rule itself: countable entries after read_seq that the user did not send.
        by_rule = sum(entry.countable and entry.seq > read_seq and entry.sender != user for entry in sent)
        if by_rule != expected:
            found.append(f"{user}: after the inbox row's read_seq {read_seq} are {by_rule} unread, not {expected}")
    preview = row.get("last") or {}
    shown = tuple(preview.get(name) for name in ("seq", "kind", "from", "ts"))
    if shown != (last.seq, last.kind, last.sender, last.ts):
        found.append(f"{user}: the inbox row shows another last message than seq {last.seq}: {preview!a}")
    return found


def _as_said(entry: Entry) -> Said:
    return Said(entry.sender, str(entry.body.get("text")))
