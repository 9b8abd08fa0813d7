"""Makes scenarios of anything that may happen to a client, in any order, with what the Python machine makes of it."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from tests.unit.client.scenario_player import Player

CONVS = ["d:alice:bob", "g:team", "g:other", "__proto__", "constructor", "d:alice:__proto__"]
KINDS = [
    "text",
    "text",
    "text",
    "custom",
    "edit",
    "recall",
    "reaction",
    "pin",
    "members",
    "profile",
    "void",
    "hologram",
]
WORDS = ["hi", "你好", "👍🏽", " two\u2003spaces\x85 here\ufeff ", "x" * 100, "😀" * 90, "", "\x1c", "__proto__"]
JUNK: list[Any] = [None, True, -1, 0, 1.5, 2**53, "7", "", [], {}, {"__proto__": 1}, [[]]]
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("edit", {"body": {"text": "x"}}),
    ("recall", {}),
    ("react", {"emoji": "👍", "on": True}),
]
ERRORS: list[dict[str, Any]] = [
    {"code": "unavailable", "retryable": True},
    {"code": "rate_limited", "retryable": True, "retry_after_ms": 700},
    {"code": "rate_limited", "retryable": True, "retry_after_ms": -5},
    {"code": "muted", "retryable": False, "retry_after_ms": 60_000},
    {"code": "not_member", "retryable": False, "message": 5},
    {"code": "bad_request", "retryable": False, "message": "no"},
]


def any_session(seed: int, steps: int) -> dict[str, Any]:
    """A scenario of so many steps. The same seed gives the same one."""
    return _World(random.Random(seed)).scenario(f"any session {seed}", steps)


class _World:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.dials: list[int] = []
        self.links: list[int] = []
        self.asked: list[tuple[int, dict[str, Any]]] = []
        self.cmids: list[str] = []
        self.said = 0

    def scenario(self, name: str, steps: int) -> dict[str, Any]:
        """Plays what comes to its mind, and writes down what comes of it."""
        settings = self.dice.choice([{}, {}, {"backlog": None}, {"backlog": 20}, {"passed_over": 5}, {"sends": 2}])
        scenario: dict[str, Any] = {"name": name, "user": "alice", "draw": self.dice.choice([0, 0.5, 0.99])}
        scenario |= {"settings": settings, "steps": []}
        player = Player(scenario)
        at = 0
        for number in range(steps):
            at += self.dice.choice([0, 1, 10, 100] if self.dials else [0, 1, 10, 100, 300, 300, 1_000, 5_000])
            if not self.dials and self.dice.random() < 0.01:
                at += self.dice.choice([600_000, 7_000_000])
            done = ["start"] if number == 0 else self._any()
            step: dict[str, Any] = {"at": at, "do": done}
            step["out"] = json.loads(json.dumps(player.step(step)))
            step["kept"] = copy.deepcopy(player.tables) if number % 10 == 0 or number == steps - 1 else {}
            self._hear(step["out"])
            if done[0] in {"restart", "stop"}:
                self.dials = [line[2] for line in step["out"] if line[1] == "dial"]
                self.links, self.asked = [], []
            scenario["steps"].append(step)
        return scenario

    def _hear(self, out: list[list[Any]]) -> None:
        for line in out:
            match line:
                case [_, "dial", link, *_]:
                    self.dials.append(link)
                case [_, "send", link, frame]:
                    self.asked.append((link, frame))
                case [_, "outgoing", cmid, *_]:
                    self.cmids = [*self.cmids[-5:], cmid]

    def _any(self) -> list[Any]:
        dice = self.dice
        if self.dials and dice.random() < 0.6:
            link = self.dials.pop()
            if dice.random() < 0.75:
                self.links.append(link)
                return ["opened", link]
            return (
                ["failed", link, dice.choice([None, 401, 403, 500])] if dice.random() < 0.8 else ["closed", link, 1006]
            )
        if self.asked and dice.random() < 0.6:
            link, frame = self.asked.pop(dice.randrange(len(self.asked)) if dice.random() < 0.2 else 0)
            if dice.random() < 0.1:
                return ["wait"]
            if dice.random() < 0.05:
                self.asked.append((link, frame))
            return ["frame", link, self._reply(frame)]
        if self.links and dice.random() < 0.4:
            return ["frame", self.links[-1], self._push()]
        return self._program()

    def _program(self) -> list[Any]:  # noqa: C901, PLR0911, PLR0912 - one line for each thing
        dice, conv = self.dice, self.dice.choice(CONVS)
        match dice.randrange(20):
            case 0 | 1 | 2 | 3:
                self.said += 1
                item = {
                    "cmid": f"m{self.said}",
                    "conv": conv,
                    "kind": "text",
                    "body": {"text": dice.choice(WORDS)},
                    "ts": 5,
                }
                if dice.random() < 0.05:
                    item["body"] = {"text": "长" * 12_000}
                if dice.random() < 0.2:
                    item |= {"mentions": ["bob"], "reply_to": 3}
                return ["send", item]
            case 4 | 5:
                op, data = dice.choice(CHANGES)
                self.said += 1
                return ["change", conv, op, {"seq": dice.randint(1, 9), **data}, f"m{self.said}"]
            case 6 if self.cmids:
                return [dice.choice(["retry", "discard"]), dice.choice(self.cmids)]
            case 7 | 8:
                return ["read", conv, dice.randint(1, 30)]
            case 9 | 10:
                return ["older", conv, dice.choice([5, 50, 200])]
            case 11:
                return ["expect", conv, dice.randint(1, 40)]
            case 12:
                return ["refresh"]
            case 13:
                return ["call", "group", dice.choice(["info", "mine"]), {"conv": conv}]
            case 14:
                return ["network", dice.random() < 0.5]
            case 15 if self.links:
                return ["closed", self.links.pop(), dice.choice([None, 1006, 1000])]
            case 16:
                return ["restart"] if dice.random() < 0.4 else ["resumed"]
            case 17:
                return [dice.choice(["stop", "start", "start", "leave"])] if dice.random() < 0.4 else ["wait"]
            case 18:
                return [
                    "text",
                    dice.randint(1, 3),
                    dice.choice(["", "{", "[]", "5", "null", '{"push":"x"}', '{"id":null}']),
                ]
            case 19:
                return ["sleep"] if dice.random() < 0.2 else ["start"]
            case _:
                return ["wait"]

    # ---- what a server may say

    def _reply(self, frame: dict[str, Any]) -> dict[str, Any]:
        dice = self.dice
        if dice.random() < 0.15:
            return {"id": frame["id"], "ok": False, "error": copy.deepcopy(dice.choice(ERRORS))}
        data = self._data(f"{frame['route']}.{frame['op']}", frame["data"])
        return {"id": frame["id"], "ok": True, "data": self._maybe_broken(data)}

    def _data(self, what: str, query: dict[str, Any]) -> dict[str, Any]:  # noqa: PLR0911 - one for each operation
        dice = self.dice
        match what:
            case "sync.inbox":
                rows = [self._maybe_broken(self._row(conv)) for conv in dice.sample(CONVS, dice.randint(0, 3))]
                data = {"conversations": rows, "inbox": f"i{dice.randint(1, 3)}", "privacy": {"receipts": True}}
                return data | ({"cursor": "c"} if dice.random() < 0.15 else {})
            case "sync.entries":
                conv, limit = query["conv"], min(query["limit"], 12)
                if "after" in query:
                    seqs = range(query["after"] + 1, query["after"] + 1 + dice.randint(0, limit))
                else:
                    seqs = range(max(1, query["before"] - dice.randint(0, limit)), query["before"])
                entries = [self._maybe_broken(self._entry(conv, seq), 0.01) for seq in seqs if dice.random() < 0.9]
                return {"entries": entries, "last_seq": dice.randint(1, 40), "more": dice.random() < 0.5}
            case "sync.read":
                return {
                    "conv": query["conv"],
                    "read_seq": query["seq"],
                    "unread": dice.randint(0, 2),
                    "total_unread": 1,
                }
            case "sync.deleted":
                return {"conv": query["conv"], "deleted": dice.randint(1, 9), "ranges": [[1, dice.randint(1, 9)]]}
            case "connect.ping":
                return {"ts": 1, "inbox": f"i{dice.randint(1, 3)}"}
            case "group.info" | "group.mine":
                info = {"conv": dice.choice(CONVS), "members": dice.choice([3, 101])}
                return info | {"groups": [{"conv": dice.choice(CONVS), "members": 200}, 5]}
            case _ if what.startswith("message."):
                seq = dice.randint(1, 40)
                return {"conv": query.get("conv", "x"), "seq": seq, "n": seq, "ts": 7, "duplicate": dice.random() < 0.1}
            case _:
                return {}

    def _push(self) -> dict[str, Any]:  # noqa: PLR0911 - one for each push
        dice, conv = self.dice, self.dice.choice(CONVS)
        match dice.randrange(14):
            case 0:
                return {"push": "inbox", "data": {"inbox": "i2"} if dice.random() < 0.5 else {}}
            case 1:
                return {"push": "row", "data": self._maybe_broken(self._row(conv))}
            case 2:
                data = {"conv": conv, "user": dice.choice(["alice", "bob"]), "seq": dice.randint(1, 30)}
                return {"push": "read", "data": self._maybe_broken(data | {"n": dice.randint(1, 30), "unread": 1})}
            case 3:
                data = {"conv": conv, "deleted": dice.randint(1, 9), "ranges": [[1, 2], dice.choice([[4, 5], [4], 6])]}
                return {"push": "deleted", "data": data}
            case 4 if dice.random() < 0.2:
                return {"push": "kicked", "data": {"reason": dice.choice(["replaced", "logout", 5])}}
            case 5:
                return {"push": dice.choice(["typing", "privacy", "__proto__"]), "data": {"conv": conv}}
            case _:
                first = dice.randint(1, 40)
                seqs = range(first, first + dice.randint(1, 3))
                entries = [self._maybe_broken(self._entry(conv, seq)) for seq in seqs]
                if dice.random() < 0.1:
                    entries += [self._entry(other, dice.randint(1, 40)) for other in dice.sample(CONVS, 3)]
                return {"push": "entries", "data": {"conv": conv, "entries": entries}}

    def _entry(self, conv: str, seq: int) -> dict[str, Any]:
        dice, kind = self.dice, self.dice.choice(KINDS)
        body: dict[str, Any] = {"text": dice.choice(WORDS)}
        if kind in {"edit", "recall", "reaction", "pin"}:
            body = {
                "target": dice.randint(1, seq),
                "body": {"text": dice.choice(WORDS)},
                "emoji": "__proto__",
                "on": True,
            }
        if kind == "members":
            body = {"added": dice.choice([["alice"], ["bob"], "alice"]), "removed": [], "by": "bob"}
        entry = {
            "conv": conv,
            "seq": seq,
            "n": seq,
            "kind": kind,
            "from": dice.choice(["alice", "bob"]),
            "ts": 1_000 + seq,
        }
        entry["body"] = body
        if dice.random() < 0.2:
            entry["mentions"] = dice.choice([["alice"], ["@all"], [5, "bob"]])
        if self.cmids and dice.random() < 0.3:
            entry["cmid"] = dice.choice(self.cmids)
        return entry

    def _row(self, conv: str) -> dict[str, Any]:
        dice, last = self.dice, self.dice.randint(1, 40)
        glimpse = {"seq": last, "kind": "text", "from": "bob", "ts": 5, "preview": "p"}
        row: dict[str, Any] = {"conv": conv, "last_seq": last, "last_n": last, "last": dice.choice([None, glimpse])}
        row |= {name: dice.randint(0, last) for name in ("read_seq", "read_n", "ack_seq", "mention_seq", "unread")}
        row |= {"muted": False, "pinned": True, "draft": "", "hidden": dice.random() < 0.2, "rev": dice.randint(0, 3)}
        row |= {"deleted": dice.choice([0, 0, 5]), "at": 5, "updated": 6}
        return row | ({"left_seq": last} if dice.random() < 0.1 else {})

    def _maybe_broken(self, data: dict[str, Any], often: float = 0.05) -> dict[str, Any]:
        if data and self.dice.random() < often:
            name = self.dice.choice(list(data))
            broken = {key: value for key, value in data.items() if key != name}
            return broken if self.dice.random() < 0.3 else broken | {name: copy.deepcopy(self.dice.choice(JUNK))}
        return data
