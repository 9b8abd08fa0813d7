"""The promises, and what they are checked on: the tables and the clients, when everything has come to rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults import packet_promises as money
from tests.faults.world import DIRECT, PAUSE_MS, Key, Start, World, catch_up, plain, plain_items, stored_items
from tests.integration.devices import Device as Client
from tests.integration.group_state import Told, check_groups, told
from tests.integration.house import START
from tests.integration.message_state import check_messages

Data = dict[str, Any]

CHANGES: Final = frozenset({"edit", "recall", "reaction", "pin"})
COUNTABLE: Final = frozenset({"text", "custom", "merged", "redpacket"})
MARKS: Final = (
    "last_seq",
    "last_n",
    "read_seq",
    "read_n",
    "ack_seq",
    "mention_seq",
    "shown_seq",
    "rev",
    "deleted",
    "ver",
)
VOLATILE: Final = frozenset(
    {"ver", "updated", "rev", "ack_seq", "opened", "prepared", "connection", "since", "ttl", "times"}
)
"""What depends on how often and when something was written, and on who has acknowledged."""
MONTH_S: Final = 40 * 86_400
DAY_MS: Final = 86_400_000
"""How long a packet may be claimed, in this world."""


# ---- what came of it, to be compared ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtRest:
    """A world at rest."""

    essence: Mapping[Key, Any]
    """What is stored and was not before; None for what is no more."""
    pushes: Counter[str]
    broken: tuple[str, ...]
    """The promises that do not hold."""


def timeless(value: Any) -> Any:
    """`value` without its times: they depend on who was asked when."""
    if isinstance(value, dict):
        return {name: timeless(some) for name, some in value.items()}
    if isinstance(value, list | tuple):
        return [timeless(some) for some in value]
    if isinstance(value, int) and not isinstance(value, bool):
        is_time = abs(value - START) < 1000 * MONTH_S or abs(value - START // 1000) < MONTH_S
        return "a time" if is_time else value
    return value


def essence(world: World, start: Start, *, acks: bool) -> dict[Key, Any]:
    """What has been stored since: how often and when does not matter."""
    out = {}
    gone = money.given_up(plain_items(money.PACKETS))
    for stored, now in world.changed(start).items():
        key = money.essential(stored, gone)
        if key is None:
            continue
        table, _, sk = key
        if table == "AudienceTable" or sk.startswith("CMID#"):
            continue  # hints, and notes that say nothing by themselves
        was, its = _essence(plain(start.items.get(stored)), acks=acks), _essence(now, acks=acks)
        if was != its:
            out[key] = its
    return out


def _essence(item: Any, *, acks: bool) -> Any:
    if not isinstance(item, dict):
        return timeless(item)
    kept = {name for name in item if name not in VOLATILE or (acks and name == "ack_seq")} - {"pk", "sk"}
    return {name: _essence(item[name], acks=acks) for name in kept} or None


def pushes_of(world: World) -> Counter[str]:
    """What every device was pushed, entries one by one."""
    out: Counter[str] = Counter()
    for device in world.house.devices.values():
        for push in device.pushes:
            if push.get("push") == "entries":
                said = [f"entry {entry['conv']} {entry['seq']}" for entry in push["data"]["entries"]]
            else:
                said = [f"{push.get('push')} {json.dumps(timeless(push.get('data')), sort_keys=True)}"]
            out.update(f"{device.user} {device.device}: {one}" for one in said)
    return out


# ---- the promises ----------------------------------------------------------------------------------------------------


class Broken(AssertionError):
    """A promise does not hold."""


def _require(holds: object, *what: object) -> None:
    if not holds:
        raise Broken(" ".join(map(str, what)))


@dataclass
class Seen:
    """What has been looked at already: the same comes to the same."""

    tables: dict[str, tuple[tuple[str, ...], dict[str, Told]]] = field(default_factory=dict)
    """What the tables were found to be, and what the logs say of groups."""
    went_on: set[str] = field(default_factory=set)
    """Moments from which it has gone on already, whoever had been told what before."""


def judge(world: World, start: Start, seen: Seen) -> list[str]:
    """The promises that do not hold. The tables first; then the clients do what is left to them."""
    rest = Rest(world, start)
    tables = repr(sorted(world.changed(start).items()))
    if tables not in seen.tables:
        broken = _broken(
            rest.what_is_stored_fits_its_log,
            rest.rows_say_what_the_log_says,
            rest.marks_never_move_back,
            rest.money_is_where_the_packets_say,
        )
        seen.tables[tables] = tuple(broken), rest.groups
    known, rest.groups = seen.tables[tables]
    found = _broken(
        rest.replies_were_true,
        rest.nobody_was_told_what_is_closed_to_them,
        rest.clients_find_everything,
        rest.every_open_connection_has_its_slot,
    )
    moment = world.fingerprint(start, told=False)
    if moment not in seen.went_on:
        seen.went_on.add(moment)
        found += _broken(rest.it_goes_on, rest.money_comes_home)
    return [*known, *found]


def _broken(*promises: Callable[[], None]) -> list[str]:
    out = []
    for promise in promises:
        try:
            promise()
        except AssertionError as e:
            said = str(e).splitlines()[0][:600] if str(e) else ""
            out.append(f"{promise.__name__.replace('_', ' ')}: {type(e).__name__} {said}")
        except LookupError as e:
            out.append(f"{promise.__name__.replace('_', ' ')}: {type(e).__name__} {e}")
    return out


class Rest:
    """A world at rest, looked at."""

    def __init__(self, world: World, start: Start) -> None:
        self.world, self.start = world, start
        self.items: dict[Key, Data] = {}
        self.logs: dict[str, list[Data]] = {}
        self.groups: dict[str, Told] = {}
        self.books = money.books_in(dict(stored_items(money.PACKETS, money.WALLETS)))
        self._look()

    def _look(self) -> None:
        self.items = plain_items()
        self.logs = {}
        for (table, pk, sk), item in sorted(self.items.items(), key=lambda pair: pair[0]):
            if table == "ConversationTable" and sk.startswith("MSG#"):
                self.logs.setdefault(pk, []).append(item)

    # ---- tables

    def what_is_stored_fits_its_log(self) -> None:
        """No hole, no repeat, `n` counts, one `cmid` one entry; groups and messages are what their logs say."""
        check_messages()
        self.groups = check_groups()

    def rows_say_what_the_log_says(self) -> None:
        for conv, log in self.logs.items():
            for user in self._people(conv):
                self._check_row(conv, user, log)

    def _people(self, conv: str) -> list[str]:
        return list(self.groups[conv].spans) if conv.startswith("g:") else conv.split(":")[1:]

    def seen_by(self, conv: str, user: str) -> list[int]:
        """The seqs that somebody may see."""
        if conv.startswith("g:"):
            return self.groups[conv].sees(user) if conv in self.groups else []
        return [entry["seq"] for entry in self.logs.get(conv, [])] if user in conv.split(":")[1:] else []

    def row(self, conv: str, user: str) -> Data:
        """A row as its owner is told, completed in a large group."""
        row: Data = dict.fromkeys(MARKS, 0) | self.items.get(("InboxTable", user, f"CONV#{conv}"), {})
        _require("pk" in row, user, "has no row of", conv)
        about = self.items.get(("InboxTable", user, "USER"), {})
        shared = self.items.get(("InboxTable", conv, "SHARED"))
        row["mention_seq"] = max(row["mention_seq"], row.get("shared_mention", 0))
        if shared is not None and conv in about.get("large", []) and "left_seq" not in row:
            for newest, more in (("last_seq", "last_n"), ("shown_seq", "shown_ts")):
                if shared.get(newest, 0) > row[newest]:
                    row |= {name: shared[name] for name in (newest, more)}
            row["mention_seq"] = max(row["mention_seq"], shared.get("mention_seq", 0))
        return row

    def _check_row(self, conv: str, user: str, log: list[Data]) -> None:
        row, where = self.row(conv, user), f"{user}'s row of {conv}"
        visible = [log[seq - 1] for seq in self.seen_by(conv, user)]
        newest = visible[-1]
        _require(row["last_seq"] == newest["seq"], where, "ends at", row["last_seq"], "not", newest["seq"])
        _require(row["last_n"] == newest["n"], where, "counts", row["last_n"], "not", newest["n"])
        shown = [entry["seq"] for entry in visible if entry["kind"] not in CHANGES][-1]
        _require(row["shown_seq"] == shown, where, "shows", row["shown_seq"], "not", shown)
        read = row["read_seq"]
        _require(row["read_n"] == (log[read - 1]["n"] if read else 0), where, "has read", row["read_n"])
        said = [entry for entry in visible if entry["kind"] in COUNTABLE]
        unread = [entry for entry in said if entry["seq"] > read]
        _require(
            row["last_n"] - row["read_n"] == len(unread), where, "unread", row["last_n"] - row["read_n"], len(unread)
        )
        _require(user not in {entry["from"] for entry in unread}, where, "has own messages unread")
        mentions = [
            entry["seq"]
            for entry in unread
            if {user, "@all"} & set(json.loads(entry.get("mentions", "[]"))) and entry["from"] != user
        ]
        mention = row["mention_seq"] if row["mention_seq"] > read else 0
        _require(mention == max(mentions, default=0), where, "mentions at", mention, "of", mentions)

    def marks_never_move_back(self) -> None:
        for key, was in self.start.items.items():
            if key[0] == "InboxTable":
                before, now = plain(was), self.items.get(key, {})
                for mark in MARKS:
                    _require(now.get(mark, 0) >= before.get(mark, 0), key, mark, before.get(mark), now.get(mark))

    def money_is_where_the_packets_say(self) -> None:
        money.check_books(money.books_in(self.start.items), self.books)

    # ---- what was said to whom

    def replies_were_true(self) -> None:
        """Whatever was answered with a place is stored there; what was refused for good is not."""
        for name, op, data, reply in self.world.adopted:
            user = name.partition(" ")[0]
            if op.startswith("redpacket."):
                money.check_reply(self.books, user, op, data, reply)
            if reply["ok"] and op.startswith("message.") and "n" in reply["data"]:
                place = reply["data"]
                entry = next((e for e in self.logs.get(place["conv"], []) if e["seq"] == place["seq"]), None)
                _require(entry is not None, op, place, "was answered and is not stored")
                assert entry is not None
                _require((entry["from"], entry["n"], entry["ts"]) == (user, place["n"], place["ts"]), op, "says", place)
                _require(op not in {"message.send", "message.forward"} or entry["cmid"] == data["cmid"], op, place)
            elif not reply["ok"] and not reply["error"]["retryable"] and "cmid" in data:
                there = [
                    e for log in self.logs.values() for e in log if (e["from"], e.get("cmid")) == (user, data["cmid"])
                ]
                _require(not there, op, "was refused for good, and is stored")

    def nobody_was_told_what_is_closed_to_them(self) -> None:
        for device in self.world.house.devices.values():
            for push in device.pushes:
                data = push.get("data") or {}
                if push.get("push") == "entries":
                    seqs = [entry["seq"] for entry in data["entries"]]
                    _require(seqs == list(range(seqs[0], seqs[0] + len(seqs))), "pushed with a hole:", seqs)
                    _require(set(seqs) <= set(self.seen_by(data["conv"], device.user)), device.user, data["conv"], seqs)
                elif push.get("push") in {"read", "delivered", "typing"}:
                    _require(self.seen_by(data["conv"], device.user), device.user, "is told of", data["conv"])
                elif push.get("push") == "redpacket":
                    money.check_push(self.books, device.user, data)

    # ---- clients

    def clients_find_everything(self) -> None:
        """Pushed, or found because the version of the inbox has changed: every client then holds the visible log."""
        for name, op, data, reply in self.world.adopted:
            if reply["ok"]:
                _adopt(self.world.clients[name], op, data, reply["data"])
        touched = self._touched()
        for name, client in self.world.clients.items():
            if client.user not in touched and client.online and client.link is not None and not client.link.pushes:
                continue  # nothing that a ping could tell: it would find what it found before
            client.receive()
            catch_up(client)
            self._check_client(name, client)
        for user in {client.user for client in self.world.clients.values()} & touched:
            self._check_totals(user)

    def _touched(self) -> set[str]:
        """The users whose rows or connections are not as they were, or who might see what is new."""
        held = dict(self._slots())
        out = {c.user for c in self.world.clients.values() if c.link is None or c.link.connection not in held}
        for table, pk, sk in self.world.changed(self.start):
            if (table == "InboxTable" and sk != "SHARED") or table == "ConnectionTable":
                out.add(pk)
            elif pk in self.logs:
                out |= set(self._people(pk))
        return out

    def _check_client(self, name: str, client: Client) -> None:
        for conv, log in self.logs.items():
            visible = self.seen_by(conv, client.user)
            held = client.logs[conv].entries if conv in client.logs else {}
            _require(sorted(held) == visible, name, "holds", sorted(held), "of", conv, "not", visible)
            _require(conv not in client.logs or not client.logs[conv].ahead, name, "has a hole in", conv)
            if not visible:
                continue
            row = client.rows[conv]
            marks = {mark: row[mark] for mark in ("last_seq", "last_n", "read_seq", "read_n")}
            stored = self.row(conv, client.user)
            _require(marks == {mark: stored[mark] for mark in marks}, name, conv, marks)
            if "left_seq" not in row:
                for seq, shown in client.messages(conv).items():
                    if log[seq - 1]["kind"] in COUNTABLE:
                        _require(_state(shown) == _stored_state(log[seq - 1]), name, conv, seq, _state(shown))

    def _check_totals(self, user: str) -> None:
        client = next(client for client in self.world.clients.values() if client.user == user)
        parts = {conv: self.row(conv, user) for conv in self.logs if user in self._people(conv)}
        counts = {conv: row["last_n"] - row["read_n"] for conv, row in parts.items()}
        reply = client.ok("sync.unread", {})
        _require(reply["conversations"] == {conv: n for conv, n in counts.items() if n}, user, "is told", reply)
        _require(reply["total_unread"] == sum(counts.values()), user, "is told", reply)

    def every_open_connection_has_its_slot(self) -> None:
        held = dict(self._slots())
        for name, client in self.world.clients.items():
            _require(client.online and client.link is not None and client.link.connection in held, name, "has no slot")

    def _slots(self) -> Iterator[tuple[str, str]]:
        """All connections that hold a slot, with their users."""
        for (table, user, _), item in plain_items("ConnectionTable").items():
            if table == "ConnectionTable":
                for name, value in item.items():
                    if name.startswith("slot:"):
                        yield value["connection"], user

    # ---- afterwards

    def it_goes_on(self) -> None:
        """Somebody says something in the conversation that it was about: everybody else who is connected is told, and
        connections that are no more lose their slots by it."""
        self.world.house.now += PAUSE_MS
        touched = [pk for table, pk, _ in self.world.changed(self.start) if table == "ConversationTable"]
        conv = next((pk for pk in sorted(touched) if pk.startswith("d:") or not self.groups[pk].dissolved), DIRECT)
        people = [user for user in self._people(conv) if not conv.startswith("g:") or user in self.groups[conv].members]
        speaker = self.groups[conv].owner if conv.startswith("g:") else people[0]
        link = self._connection(speaker)
        for device in self.world.house.devices.values():
            device.pushes.clear()
        seq = link.say("And on it goes.", "probe", conv=conv)["seq"]
        self.world.settle()
        _require(seq == len(self.logs.get(conv, [])) + 1, "the log went on at", seq)
        held = dict(self._slots())
        is_large = any(entry.get("large") for entry in self.logs.get(conv, [])[-1:])
        for connection, user in held.items():
            device = self.world.house.devices.get(connection)
            if user not in people or connection == link.connection or is_large:
                continue  # of the audience of a large group there are but hints
            _require(device is not None and not device.closed, user, "keeps a slot of a connection that has ended")
            assert device is not None
            _require(device.seen(conv) == [seq], user, "was not told")
        if "records" in self.world.notes:
            self._comes_late()

    def _comes_late(self) -> None:
        """The queue brings again what was done long ago, when more has been said."""
        records = self.world.notes["records"]
        parts = bool(json.loads(records[0]["body"]).get("of"))
        express = "express" in records[0]["eventSourceARN"]
        _require(self.world.house.deliver(records, parts=parts, express=express) == [], "it fails when it comes late")
        self._look()
        self.groups = {conv: told(conv) for conv in self.groups}
        self.rows_say_what_the_log_says()
        self.marks_never_move_back()

    def money_comes_home(self) -> None:
        """A day later every packet is over: what was claimed is with the claimers, all else with its sender again. What
        the stream and the queue bring once more moves nothing."""
        house = self.world.house
        if not self.books.packets:
            return
        house.now += DAY_MS
        house.packets.sweep()
        house.packets.settle()
        for _ in range(2):
            before, self.books = self.books, money.books_in(dict(stored_items(money.PACKETS, money.WALLETS)))
            money.check_books(before, self.books)
            money.check_all_is_over(self.books)
            house.packets.records += self.world.notes.get("changes", [])
            house.packets.follow()
            if "message" in self.world.notes:
                _require(house.packets.deliver(self.world.notes["message"]), "it fails when it comes late")
        for sender in {packet.text("sender") for packet in self.books.packets.values()}:
            link = self._connection(sender)
            balance = link.ok("redpacket.wallet")["balance"]
            lines = link.ok("redpacket.ledger")["postings"]
            _require(balance == sum(line["amount"] for line in lines), sender, "has", balance, "by", lines)

    def _connection(self, user: str) -> Any:
        for client in self.world.clients.values():
            if client.user == user and client.online:
                return client.link
        return self.world.house.connect(user)


def _adopt(client: Client, op: str, data: Data, told: Data) -> None:
    """A client that had a reply knows what it did."""
    ask: Callable[..., Data] = lambda *_: {"ok": True, "data": told}  # noqa: E731
    client.ask = ask  # type: ignore[method-assign]
    try:
        client.do(op, data)
    finally:
        del client.ask  # type: ignore[method-assign]


def _state(shown: Data) -> Data:
    return {
        "body": shown["body"],
        "recalled": bool(shown["recalled"]),
        "pinned": bool(shown["pinned"]),
        "reactions": {emoji: count for emoji, (count, _) in shown["reactions"].items()},
    }


def _stored_state(entry: Data) -> Data:
    return {
        "body": json.loads(entry["body"]),
        "recalled": "recalled" in entry,
        "pinned": "pinned" in entry,
        "reactions": {emoji: its["count"] for emoji, its in entry.get("reactions", {}).items()},
    }
