"""What everybody must see: people, conversations, one log each, as docs/protocol.md tells it.

It knows nothing of spans, copies or watermarks. For each user it keeps the set of entries that they may see, and makes
what a message is for them from the changes among these. Where the protocol leaves open how far a mark came that moved
while entries were under way, it keeps both ends, and takes what it is shown if that lies between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.house import START

USERS = ("alice", "bob", "carol", "dave")
CHANGES = ("edit", "recall", "reaction", "pin")
MESSAGES = ("text", "custom", "merged")
EDITABLE = ("text", "custom")
RECALL_MS, EDIT_MS = 120_000, 24 * 60 * 60 * 1000
NAMED, MOST_EMOJI, MOST_EDITS = 16, 20, 20

Data = dict[str, Any]
OK = frozenset({"ok"})


@dataclass
class Said:
    """One entry."""

    seq: int
    n: int
    kind: str
    by: str
    ts: int
    body: Data
    mentions: Sequence[str] = ()
    reply_to: int | None = None
    forwarded: Data | None = None

    @property
    def target(self) -> int:
        """The message that a change is about; 0 of all others."""
        return int(self.body["target"]) if self.kind in CHANGES else 0

    @property
    def is_message(self) -> bool:
        """Whether it counts."""
        return self.kind in MESSAGES


@dataclass
class Mine:
    """What one user has set and marked in one conversation."""

    read: tuple[int, int] = (0, 0)
    """The read mark lies between these."""
    acked: int = 0
    muted: bool = False
    pinned: bool = False
    draft: str = ""
    hidden: tuple[int, int] | None = None
    """When it was hidden so many messages had come, between these."""
    deleted: set[int] = field(default_factory=set)
    listed: bool = False
    """Whether it is in the list even while it is empty: because something of it was set."""

    def has_read(self, seq: int) -> None:
        """The mark moves up to an entry."""
        self.read = max(self.read[0], seq), max(self.read[1], seq)


@dataclass
class World:
    """All conversations, and what concerns all of a user's."""

    now: int = START
    rooms: dict[str, Room] = field(default_factory=dict)
    receipts: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(USERS, True))
    presence: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(USERS, True))
    typed: dict[tuple[str, str], int] = field(default_factory=dict)

    def rooms_of(self, user: str) -> list[Room]:
        """What a user has in their list."""
        return [room for room in self.rooms.values() if room.seen[user] or room.mine[user].listed]

    def privacy(self, user: str) -> Data:
        """What a user shows to others."""
        return {"receipts": self.receipts[user], "presence": self.presence[user]}


@dataclass
class Room:
    """One conversation."""

    world: World
    conv: str
    owner: str = ""
    admins: list[str] = field(default_factory=list)
    history: bool = False
    members: set[str] = field(default_factory=set)
    log: list[Said] = field(default_factory=list)
    changes: dict[int, list[Said]] = field(default_factory=dict)
    """The changes of each message that has some."""
    seen: dict[str, set[int]] = field(default_factory=lambda: {user: set() for user in USERS})
    """What each may see."""
    since: dict[str, int] = field(default_factory=dict)
    """From which entry on each member sees everything."""
    came: dict[str, int] = field(default_factory=dict)
    """The entry with which each member has come, the last time."""
    mine: dict[str, Mine] = field(default_factory=lambda: {user: Mine() for user in USERS})
    arrived: dict[str, int] = field(default_factory=lambda: dict.fromkeys(USERS, 0))
    """Up to where entries have come to the list of each; the rest is under way."""

    @property
    def direct(self) -> bool:
        """Whether it is between two."""
        return self.conv.startswith("d:")

    def leads(self, user: str) -> bool:
        """Whether they are the owner or an admin."""
        return user == self.owner or user in self.admins

    # ---- what happens in it

    def write(
        self, kind: str, by: str, body: Data, *, added: Collection[str] = (), removed: Collection[str] = (), **more: Any
    ) -> int:
        """The next entry, seen by all members: those whom it brings in or sends away, too."""
        seq = len(self.log) + 1
        n = (self.log[-1].n if self.log else 0) + (kind in MESSAGES)
        said = Said(seq, n, kind, by, self.world.now, body, **more)
        self.log.append(said)
        if said.target:
            self.changes.setdefault(said.target, []).append(said)
        for user in added:
            self.members.add(user)
            self.since[user] = 1 if self.history else seq
            self.came[user] = seq
            if self.history:
                self.seen[user] = set(range(1, seq))
            self.mine[user].read = seq - 1, seq - 1
        for user in self.members:
            self.seen[user].add(seq)
        for user in removed:
            self.members.remove(user)
            if user in self.admins:
                self.admins.remove(user)
        for user in (*added, *removed):
            self.arrived[user] = seq
        if kind in MESSAGES or by in (*added, *removed):
            self.mine[by].has_read(seq)
        return seq

    def arrive(self, seq: int) -> None:
        """An entry has come to the lists of all who see it."""
        for user in USERS:
            if seq in self.seen[user]:
                self.arrived[user] = max(self.arrived[user], seq)

    # ---- what may happen in it: the outcomes that the protocol allows

    def standing(self, user: str) -> str:
        """Whether they are a member, a former one, or a stranger."""
        return "member" if user in self.members else "former" if self.seen[user] else "stranger"

    def _no_target(self, user: str, seq: int) -> frozenset[str]:
        if user not in self.members:
            return frozenset({"not_member"})
        return frozenset() if seq in self.seen[user] else frozenset({"not_found"})

    def _problems(self, seq: int) -> set[str]:
        """What is wrong with a target, for every change."""
        target = self.log[seq - 1]
        if not target.is_message:
            return {"bad_request"}
        return {"conflict"} if self.recall_of(seq) else set()

    def may_edit(self, user: str, seq: int, body: Data) -> tuple[frozenset[str], bool]:
        """The outcomes allowed, and whether it changes nothing."""
        if no := self._no_target(user, seq):
            return no, False
        target, problems = self.log[seq - 1], self._problems(seq)
        problems |= {"bad_request"} if target.kind not in EDITABLE or target.forwarded else set()
        problems |= {"forbidden"} if target.by != user else set()
        edits = [change for change in self._changes(seq) if change.kind == "edit"]
        if not problems and (edits[-1].body["body"] if edits else target.body) == body:
            return OK, True
        problems |= {"expired"} if self.world.now - target.ts > EDIT_MS else set()
        problems |= {"too_large"} if len(edits) >= MOST_EDITS else set()
        return frozenset(problems) or OK, False

    def may_recall(self, user: str, seq: int) -> tuple[frozenset[str], bool]:
        """As may_edit."""
        if no := self._no_target(user, seq):
            return no, False
        target, problems = self.log[seq - 1], self._problems(seq) - {"conflict"}
        if not self.leads(user):
            problems |= {"forbidden"} if target.by != user else set()
            problems |= {"expired"} if self.world.now - target.ts > RECALL_MS else set()
        if self.recall_of(seq) is not None:
            return frozenset(problems) | OK, True
        return frozenset(problems) or OK, False

    def may_react(self, user: str, seq: int, emoji: str, *, on: bool) -> tuple[frozenset[str], bool]:
        """As may_edit."""
        if no := self._no_target(user, seq):
            return no, False
        if problems := self._problems(seq):
            return frozenset(problems), False
        there = self.reactions(seq)
        if ((user, emoji) in there) == on:
            return OK, True
        kinds = {kind for _, kind in there}
        return (frozenset({"too_large"}) if on and len(kinds | {emoji}) > MOST_EMOJI else OK), False

    def may_pin(self, user: str, seq: int, *, on: bool) -> tuple[frozenset[str], bool]:
        """As may_edit."""
        if no := self._no_target(user, seq):
            return no, False
        problems = self._problems(seq)
        already = not problems and self.is_pinned(seq) == on
        problems |= {"forbidden"} if not self.direct and not self.leads(user) else set()
        if already:
            return frozenset(problems) | OK, True
        return frozenset(problems) or OK, False

    def may_see(self, user: str, seq: int) -> frozenset[str]:
        """Whether somebody can mark or look up an entry."""
        if not self.seen[user] and user not in self.members:
            return frozenset({"not_member"})
        return OK if seq in self.seen[user] else frozenset({"not_found"})

    def may_forward(self, user: str, seqs: Sequence[int]) -> frozenset[str]:
        """Whether messages can be taken from here."""
        if self.standing(user) == "stranger":
            return frozenset({"not_member"})
        found = [self.log[seq - 1] for seq in seqs if seq in self.seen[user]]
        problems = {"not_found"} if len(found) < len(seqs) else set()
        problems |= {"conflict"} if any(self.recall_of(said.seq) for said in found) else set()
        problems |= {"bad_request"} if not all(said.is_message for said in found) else set()
        # Who has left can read what they saw; whether they can take it elsewhere is left open.
        return (frozenset(problems) or OK) | (frozenset({"not_member"}) if user not in self.members else frozenset())

    # ---- what has become of a message

    def _changes(self, seq: int) -> list[Said]:
        return self.changes.get(seq, [])

    def recall_of(self, seq: int) -> Said | None:
        """What recalled a message: it does for everybody."""
        return next((change for change in self._changes(seq) if change.kind == "recall"), None)

    def reactions(self, seq: int) -> dict[tuple[str, str], int]:
        """All reactions that are on: user and emoji, with the change that says so."""
        there: dict[tuple[str, str], int] = {}
        for change in self._changes(seq):
            if change.kind == "reaction" and change.body["on"]:
                there[change.by, change.body["emoji"]] = change.seq
            elif change.kind == "reaction":
                del there[change.by, change.body["emoji"]]
        return {} if self.recall_of(seq) else there

    def is_pinned(self, seq: int) -> bool:
        """Whether a message is pinned."""
        pins = [change.body["on"] for change in self._changes(seq) if change.kind == "pin"]
        return bool(pins) and pins[-1] and self.recall_of(seq) is None

    def versions(self, user: str, seq: int) -> list[Data]:
        """What a message has said, as far as a user may see it."""
        if self.recall_of(seq) is not None:
            return []
        told = [(said.seq, said.ts, said.body["body"]) for said in self._told(user, seq) if said.kind == "edit"]
        first = self.log[seq - 1]
        return [{"seq": s, "ts": ts, "body": body} for s, ts, body in [(first.seq, first.ts, first.body), *told]]

    def is_open(self, user: str, seq: int) -> bool:
        """Whether a user sees all that becomes of an entry."""
        return user in self.members and seq >= self.since.get(user, 1)

    def _told(self, user: str, seq: int) -> list[Said]:
        """The changes of a message that a user may see."""
        return [change for change in self._changes(seq) if change.seq in self.seen[user]]

    def hears_twice(self, user: str, seq: int) -> bool:
        """Whether a reaction came twice for a user, who did not see it being taken off."""
        there: set[tuple[str, str]] = set()
        for change in self._told(user, seq):
            reaction = change.by, str(change.body.get("emoji"))
            if change.kind == "reaction" and change.body["on"] and reaction in there:
                return True
            if change.kind == "reaction":
                (there.add if change.body["on"] else there.discard)(reaction)
        return False

    def view(self, user: str, seq: int) -> Data:
        """A message as a user must see it."""
        said = self.log[seq - 1]
        now: Data = {"n": said.n, "kind": said.kind, "from": said.by, "ts": said.ts, "body": said.body}
        if not said.is_message:
            return now
        now |= {"edited": None, "recalled": None, "pinned": False, "reactions": {}, "quote": self._quote(user, said)}
        now |= {"mentions": list(said.mentions) or None, "reply_to": said.reply_to, "forwarded": said.forwarded}
        recall = self.recall_of(seq)
        if recall is not None:
            return now | {"body": {}, "recalled": {"by": recall.by, "ts": recall.ts}}
        told = self._told(user, seq)
        for change in told:
            if change.kind == "edit":
                now |= {"body": change.body["body"], "edited": {"seq": change.seq, "ts": change.ts}}
            elif change.kind == "pin":
                now["pinned"] = change.body["on"]
        return now | {"reactions": _tally([change for change in told if change.kind == "reaction"])}

    def _quote(self, user: str, said: Said) -> Data | None:
        answered = said.reply_to
        if answered is None or answered not in self.seen[user] or answered in self.mine[user].deleted:
            return None
        return self._glimpse(user, answered)

    def _glimpse(self, user: str, seq: int) -> Data:
        """An entry in one line."""
        now = self.view(user, seq)
        text = {"text": "text", "merged": "title"}.get(now["kind"], "")
        shown = {name: now[name] for name in ("kind", "from", "ts")}
        return {"seq": seq, **shown, "preview": now["body"].get(text, ""), "recalled": bool(now.get("recalled"))}

    # ---- how it looks

    def _seen_by(self, user: str) -> list[Said]:
        return [self.log[seq - 1] for seq in sorted(self.seen[user])]

    def messages(self, user: str) -> dict[int, Data]:
        """What a user sees of it: messages as they are now, and notices."""
        return {
            seq: self.view(user, seq)
            for seq in sorted(self.seen[user] - self.mine[user].deleted)
            if self.log[seq - 1].kind not in CHANGES
        }

    def newest(self, user: str) -> Said | None:
        """The newest entry that is no change."""
        found = [said for said in self._seen_by(user) if said.kind not in CHANGES]
        return found[-1] if found else None

    def last(self, user: str) -> Data | None:
        """The newest entry that is no change, and that a user has not deleted, in one line."""
        shown = self.messages(user)
        return self._glimpse(user, max(shown)) if shown else None

    def row(self, user: str, told: Data) -> Data:
        """How it must look in the list of a user who has it there. What is open is taken as `told`."""
        mine, last, newest = self.mine[user], max(self.seen[user], default=0), self.newest(user)
        self._take_up(user, told)
        read = mine.read[0]
        news = [said for said in self._seen_by(user) if said.seq > read]
        told_of = [said.seq for said in news if said.by != user and {user, "@all"} & set(said.mentions)]
        row = {
            "conv": self.conv,
            "last_seq": last,
            "last": self.last(user),
            "unread": sum(said.is_message for said in news),
            "read_seq": read,
            "mention_seq": max(told_of, default=0),
            "muted": mine.muted,
            "pinned": mine.pinned,
            "draft": mine.draft,
            "hidden": mine.hidden is not None,
            "at": newest.ts if newest is not None else told["at"],
        }
        return row if user in self.members else row | {"left_seq": last}

    def _take_up(self, user: str, told: Data) -> None:
        """Settle what the protocol leaves open, by what is shown."""
        mine = self.mine[user]
        seen = min(max(told["read_seq"], mine.read[0]), mine.read[1])
        mine.read = seen, seen
        if mine.hidden is not None:
            n = max((said.n for said in self._seen_by(user)), default=0)
            must = any(said.is_message and said.n > mine.hidden[1] for said in self._seen_by(user))
            mine.hidden = None if must or (n > mine.hidden[0] and not told["hidden"]) else (n, n)

    def peer(self, user: str) -> Data | None:
        """The ticks at a user's own messages: nothing without one, or where the other side does not show them."""
        (other,) = self.members - {user}
        own = [s for s, now in self.messages(user).items() if now["from"] == user and self.log[s - 1].is_message]
        if not own or not self.world.receipts[other]:
            return None
        return {"read_seq": self.mine[other].read[0], "ack_seq": self.mine[other].acked}

    def receipts(self, seq: int) -> Data:
        """Who of those who got a message, and are still there, has received and read it."""
        asked = {user for user in self.members - {self.log[seq - 1].by} if self.came.get(user, 0) <= seq}
        shows = {user for user in asked if self.world.receipts[user]}
        read = {user for user in shows if self.mine[user].read[0] >= seq}
        delivered = read | {user for user in shows if self.mine[user].acked >= seq}
        counts = {"members": len(asked), "delivered": len(delivered), "read": len(read)}
        return counts | {"private": len(asked - shows), "names": {"read": sorted(read), "unread": sorted(shows - read)}}


def _tally(changes: Sequence[Said]) -> dict[str, tuple[int, list[str]]]:
    """Reactions by emoji: how many, and those with a name. Somebody's `off` may be all that is seen of theirs, or an
    `on` after another one."""
    count: dict[str, int] = {}
    names: list[tuple[str, str]] = []
    for change in changes:
        emoji = change.body["emoji"]
        if change.body["on"] and (emoji, change.by) in names:
            continue
        if change.body["on"]:
            count[emoji] = count.get(emoji, 0) + 1
            if len(names) < NAMED:
                names.append((emoji, change.by))
            continue
        if (emoji, change.by) in names:
            names.remove((emoji, change.by))
        left = sum(name == emoji for name, _ in names)
        count[emoji] = max(count.get(emoji, 0) - 1, left)
    return {e: (number, sorted(by for name, by in names if name == e)) for e, number in count.items() if number}
