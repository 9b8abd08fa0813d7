"""What is stored of groups, checked against what their logs say.

The log alone tells who is in a group, what they may do and what they see of it. `check_groups` plays every log of a
house and compares the heads, members, former members, inbox rows and counts of groups with it.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from im.domain.entries import COUNTABLE
from tests.integration.house import REGION, Device, House

TABLES = ("ConversationTable", "InboxTable", "ConnectionTable", "AudienceTable")

SETTINGS = ("name", "notice", "avatar", "custom", "join_mode", "history", "who_invites", "who_mentions_all")


@dataclass
class Told:
    """A group as its log tells it."""

    seq: int = 0
    n: int = 0
    epoch: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    owner: str = ""
    admins: list[str] = field(default_factory=list)
    members: set[str] = field(default_factory=set)
    muted: dict[str, int] = field(default_factory=dict)
    muted_until: int = 0
    dissolved: bool = False
    spans: dict[str, list[list[int]]] = field(default_factory=dict)
    """What everybody who ever was in it may see: [first, last], last 0 while it goes on."""
    joined: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Each member's joining: seq and time."""

    def role(self, user: str) -> str:
        """What somebody is in it now."""
        if user not in self.members:
            return "stranger"
        return "owner" if user == self.owner else "admin" if user in self.admins else "member"

    def hear(self, entry: dict[str, Any]) -> None:
        """Take in the next entry, as `log_of` returns it. Who made it must have been allowed to, there and then."""
        assert not self.dissolved, f"{entry['seq']} comes after the end"
        self.seq += 1
        self.n += entry["kind"] in COUNTABLE
        assert (int(entry["seq"]), int(entry["n"])) == (self.seq, self.n), "a hole, a repeat or a wrong count"
        body, by, ts = json.loads(entry["body"]), entry["from"], int(entry["ts"])
        if entry["kind"] == "members":
            self.epoch = self.seq
            assert body["by"] == by
            self._come(by, ts, body)
            self._go(by, body)
            self._roles(by, body)
        elif entry["kind"] == "profile":
            self.epoch = self.seq
            assert self.role(by) in ({"owner"} if body.get("dissolved") else {"owner", "admin"}), f"{by} at {self.seq}"
            self.muted_until = body.pop("muted_until", self.muted_until)
            self.dissolved = body.pop("dissolved", self.dissolved)
            assert set(body) <= set(SETTINGS)
            self.settings |= body
        else:
            self._said(by, ts, json.loads(entry.get("mentions", "[]")))
        assert int(entry["epoch"]) == self.epoch, f"epoch of {self.seq}"

    def _said(self, by: str, ts: int, mentions: list[str]) -> None:
        assert by in self.members, f"{by} sent {self.seq}"
        assert by == self.owner or self.muted.get(by, 0) <= ts, f"{by} sent {self.seq}"
        if self.role(by) == "member":
            assert self.muted_until <= ts, f"{by} sent {self.seq}"
            assert "@all" not in mentions or self.settings["who_mentions_all"] == "members"

    def _come(self, by: str, ts: int, body: dict[str, Any]) -> None:
        if "group" in body:
            assert self.seq == 1
            self.settings, self.owner = dict(body["group"]), by
        elif body["added"] == [by]:
            assert self.settings["join_mode"] == "open"
        elif body["added"]:
            allowed = {"owner", "admin"} | ({"member"} if self.settings["who_invites"] == "members" else set())
            assert self.role(by) in allowed, f"{by} at {self.seq}"
        for user in body["added"]:
            assert user not in self.members, f"{user} was added twice"
            self.members.add(user)
            self.joined[user] = (self.seq, ts)
            closed = [] if self.settings["history"] else self.spans.get(user, [])
            self.spans[user] = [*closed, [1 if self.settings["history"] else self.seq, 0]]

    def _go(self, by: str, body: dict[str, Any]) -> None:
        for user in body["removed"]:
            if user == by:
                assert user != self.owner or self.members == {user}, f"{user} left at {self.seq}"
            else:
                ranks = {"owner": {"admin", "member"}, "admin": {"member"}}
                assert self.role(user) in ranks.get(self.role(by), set()), f"{by} removed {user} at {self.seq}"
        self.dissolved = body.get("dissolved", self.dissolved)
        for user in body["removed"]:
            self.members.remove(user)
            self.spans[user][-1][1] = self.seq
            self.admins = [admin for admin in self.admins if admin != user]
        assert self.dissolved == (not self.members)

    def _roles(self, by: str, body: dict[str, Any]) -> None:
        assert not body.get("roles") or self.role(by) == "owner", f"{by} at {self.seq}"
        for user, role in body.get("roles", {}).items():
            assert user in self.members
            self.admins = [admin for admin in self.admins if admin != user] + ([user] if role == "admin" else [])
            self.owner = user if role == "owner" else self.owner
        for user in body.get("muted", {}):
            ranks = {"owner": {"admin", "member"}, "admin": {"member"}}
            assert self.role(user) in ranks.get(self.role(by), set()), f"{by} muted {user} at {self.seq}"
        self.muted |= body.get("muted", {})

    def sees(self, user: str) -> list[int]:
        """The seqs that a user may see."""
        return [
            seq
            for seq in range(1, self.seq + 1)
            if any(first <= seq and (not last or seq <= last) for first, last in self.spans.get(user, []))
        ]


def stored(table: str) -> list[dict[str, Any]]:
    """Everything in a table, as `House.items` returns it; many times as fast, because it asks moto and not its API."""
    return [
        json.loads(json.dumps(item.to_json()["Attributes"], default=lambda value: value.to_json()))
        for item in _tables()[table].all_items()
    ]


def _tables() -> dict[str, Any]:
    return dict(dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables)


def log_of(conv: str) -> list[dict[str, Any]]:
    """The log of a conversation as it is stored, as `House.log` returns it."""
    entries = [item for item in stored("ConversationTable") if item["pk"]["S"] == conv]
    entries = [item for item in entries if item["sk"]["S"].startswith("MSG#")]
    return [
        {name: next(iter(value.values())) for name, value in item.items()}
        for item in sorted(entries, key=lambda item: str(item["sk"]["S"]))
    ]


def told(conv: str) -> Told:
    """A group as its whole log tells it."""
    out = Told()
    for entry in log_of(conv):
        out.hear(entry)
    return out


def check_groups() -> dict[str, Told]:
    """Compare everything that is stored of every group with its log. Returns what the logs say."""
    items = {(item["pk"]["S"], item["sk"]["S"]): item for item in stored("ConversationTable")}
    rows = {(item["pk"]["S"], item["sk"]["S"]): item for item in stored("InboxTable")}
    groups = {conv: told(conv) for conv in sorted({pk for pk, _ in items if pk.startswith("g:")})}
    counts: Counter[str] = Counter()
    for conv, group in groups.items():
        if group.seq == 0:
            assert {sk.partition("#")[0] for pk, sk in items if pk == conv} <= {"CMID"}
            continue
        assert group.dissolved or {group.owner, *group.admins} <= group.members, conv
        _check_head(group, items[conv, "META"])
        people = {
            prefix: {sk.partition("#")[2] for pk, sk in items if pk == conv and sk.startswith(f"{prefix}#")}
            for prefix in ("MEM", "PAST", "REQ")
        }
        assert people["MEM"] == group.members, conv
        assert not people["REQ"] & group.members, "a request of a member"
        assert people["PAST"] >= set(group.spans) - group.members, conv
        assert people["PAST"] <= set(group.spans), conv
        for user in group.spans:
            _check_person(group, user, items[conv, f"{'MEM' if user in group.members else 'PAST'}#{user}"])
            row = rows[user, f"CONV#{conv}"]
            counts[user] += user in group.members and "uncounted" not in row
            if user in group.members:
                assert group.dissolved or "left_seq" not in row, (conv, user)
            else:
                assert int(row["left_seq"]["N"]) == int(row["last_seq"]["N"]) == group.spans[user][-1][1], (conv, user)
    counted = {pk: int(item["count"]["N"]) for (pk, sk), item in rows.items() if sk == "USER" and "count" in item}
    assert {user: count for user, count in counted.items() if count} == dict(+counts), "counts of groups"
    return groups


def _check_head(group: Told, head: dict[str, Any]) -> None:
    plain = {name: next(iter(value.values())) for name, value in head.items()}
    plain["custom"] = json.loads(plain["custom"])
    assert {name: plain[name] for name in SETTINGS} == group.settings
    assert plain["owner"] == group.owner
    assert [admin["S"] for admin in plain["admins"]] == group.admins
    assert int(plain["member_count"]) == len(group.members)
    assert int(plain["epoch"]) == group.epoch
    assert int(plain["muted_until"]) == group.muted_until
    assert plain["dissolved"] == group.dissolved


def _check_person(group: Told, user: str, item: dict[str, Any]) -> None:
    spans = [[int(number["N"]) for number in pair["L"]] for pair in item["spans"]["L"]]
    assert spans == group.spans[user], user
    assert int(item.get("muted_until", {"N": "0"})["N"]) == group.muted.get(user, 0), user
    if user in group.members:
        assert (int(item["joined_seq"]["N"]), int(item["joined_at"]["N"])) == group.joined[user], user


def everything(house: House) -> dict[str, Any]:
    """All tables and both queues, to compare with themselves at another time."""
    tables: dict[str, Any] = {
        table: sorted(json.dumps(_ordered(item), sort_keys=True) for item in stored(table)) for table in TABLES
    }
    return tables | {"queue": queued(house), "parts": [record["body"] for record in house.take(parts=True)]}


def _ordered(item: Any) -> Any:
    """`item` with its sets in order: DynamoDB promises none."""
    if isinstance(item, dict):
        return {
            name: sorted(value) if name in {"SS", "NS"} and isinstance(value, list) else _ordered(value)
            for name, value in item.items()
        }
    return [_ordered(value) for value in item] if isinstance(item, list) else item


def queued(house: House) -> list[str]:
    """The bodies of the entries in the queue, in its order; ten at most."""
    return [record["body"] for record in house.take()]


def queued_seqs(house: House) -> list[int]:
    """The seqs of the entries in the queue, in its order; ten at most."""
    return [int(json.loads(body)["entry"]["seq"]) for body in queued(house)]


def drop_queued(house: House) -> None:
    """Lose what is in the queues, as if it had never come there: they take it when it comes again."""
    for parts, url in ((False, house.queue_url), (True, house.parts_url)):
        while records := house.take(parts=parts):
            for record in records:
                house.sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])
    house.queued.clear()


@contextmanager
def undone(house: House) -> Iterator[None]:
    """Whatever is written inside is taken back: tables, queues and pushes are again as they were."""
    tables = _tables()
    saved = {name: copy.deepcopy(table.items) for name, table in tables.items()}
    pushes = {connection: list(device.pushes) for connection, device in house.devices.items()}
    now, sent = house.now, dict(house.queued)
    try:
        yield
    finally:
        for name, table in tables.items():
            table.items = saved[name]
        drop_queued(house)
        for connection, device in house.devices.items():
            device.pushes[:] = pushes.get(connection, [])
        house.now, house.queued = now, sent


def people_of(house: House, names: str) -> dict[str, Device]:
    """A connection for each of the users named in `names`, with blanks between them."""
    return {name: house.connect(name) for name in names.split()}


def text(cmid: str, conv: str, **more: Any) -> dict[str, Any]:
    """The data of a message.send that says its `cmid`."""
    return {"conv": conv, "cmid": cmid, "kind": "text", "body": {"text": cmid}} | more


def code_of(reply: dict[str, Any]) -> str:
    """`ok`, or the code of the error."""
    return "ok" if reply["ok"] else str(reply["error"]["code"])


def rows_of(conv: str) -> dict[str, dict[str, int]]:
    """The numbers in the inbox rows of a conversation, by user."""
    return {
        item["pk"]["S"]: {name: int(value["N"]) for name, value in item.items() if "N" in value}
        for item in stored("InboxTable")
        if item["sk"]["S"] == f"CONV#{conv}"
    }


def row(device: Device, conv: str) -> dict[str, Any]:
    """A row of the caller's inbox."""
    return next(row for row in device.ok("sync.inbox")["conversations"] if row["conv"] == conv)


def pages(device: Device, conv: str, limit: int, *, ascending: bool = True) -> list[int]:
    """The seqs of all pages of sync.entries from one end to the other, as a client asks for them."""
    seqs: list[int] = []
    at = 0 if ascending else 10**9
    while True:
        page = device.ok("sync.entries", {"conv": conv, "limit": limit, ("after" if ascending else "before"): at})
        got = [entry["seq"] for entry in page["entries"]]
        assert len(got) <= limit
        seqs += got
        if not page["more"]:
            return seqs
        assert got, "more of nothing"
        at = got[-1]


Act = Callable[[], Any]
