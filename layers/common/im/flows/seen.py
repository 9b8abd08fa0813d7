"""Entries as one user may see them: nothing of what is closed to them shows through what is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from im.domain.deletions import Deletions
from im.domain.entries import CHANGES, Entry, target_of, void
from im.domain.group import Spans, visible
from im.domain.ids import ConvId, Seq
from im.domain.message_rules import as_sent
from im.store.conversations import ConversationStore
from im.wire.entries import entry_data
from im.wire.frames import dumps


def as_seen(entry: Entry, spans: Spans) -> Entry:
    """A visible entry, for somebody who sees `spans` of its log.

    An edit of a message that they may not see does not tell what it says. A message that was changed when they could
    not see that any more is as it was sent: the changes that they do see are entries of their own. Recalled it is for
    everybody.
    """
    if entry.kind == "edit":
        target = target_of(entry)
        return entry if visible(spans, target) else replace(entry, body=dumps({"target": target}))
    if entry.state.recalled is not None or not entry.state.changed:
        return entry
    span = next(span for span in spans if entry.seq in span)
    return entry if entry.state.changed in span else as_sent(entry)


def known_at(entry: Entry, seq: Seq) -> Entry:
    """An entry that was read just now, for those who are known to see what came up to `seq`: what changed it later they
    may not see any more. Recalled it is for everybody."""
    return as_sent(entry) if entry.state.changed > seq else entry


def answered(
    log: ConversationStore, conv: ConvId, entries: Iterable[Entry], known: Iterable[Entry] = ()
) -> dict[Seq, Entry]:
    """The messages that some of `entries` answer, by seq. ½ R for each that is not among the `known`."""
    at_hand = {entry.seq: entry for entry in known}
    wanted = {entry.reply_to for entry in entries if entry.reply_to is not None}
    found = log.found((conv, seq) for seq in sorted(wanted - at_hand.keys()))
    return {seq: at_hand[seq] for seq in wanted & at_hand.keys()} | {seq: entry for (_, seq), entry in found.items()}


def seen_data(
    log: ConversationStore, conv: ConvId, spans: Spans, entries: Sequence[Entry], deletions: Deletions
) -> list[dict[str, Any]]:
    """Visible entries of one conversation as the protocol's, for somebody who has deleted some of them."""
    kept = [void(entry) if _is_gone(entry, deletions) else as_seen(entry, spans) for entry in entries]
    answering = [entry for entry in kept if entry.reply_to not in deletions]
    quoted = quotes(answered(log, conv, answering, known=entries), spans)
    return [entry_data(entry, quoted.get(entry.reply_to) if entry.reply_to else None) for entry in kept]


def _is_gone(entry: Entry, deletions: Deletions) -> bool:
    """Whether nothing of an entry is shown: a change goes with its message, and not by itself."""
    return (target_of(entry) if entry.kind in CHANGES else entry.seq) in deletions


def quotes(answered: Mapping[Seq, Entry], spans: Spans) -> dict[Seq, Entry]:
    """Those of `answered` that somebody may see, as they see them."""
    return {seq: as_seen(entry, spans) for seq, entry in answered.items() if visible(spans, seq)}
