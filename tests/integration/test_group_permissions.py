"""Every act in a group, by everybody, in groups of every setting: done, or refused without a trace.

The table below is the promise. A word stands for what becomes of the act, and what is compared afterwards:

done     success; one entry more, with the body that is given with the act, and the stored state that follows from it
reads    success; nothing was written
same     success, because it is so already; nothing was written, the newest change is queued once more
asks     success; a request to join is stored, the owner and admins are told
drops    success; a request to join is gone, who made it is told
uncounts success; a dissolved group no longer counts as one of the caller's
another  the error with that code; nothing was written, queued or pushed, whatever the act is about
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from im.wire.requests import GroupUpdate
from tests.integration.group_state import (
    check_groups,
    code_of,
    everything,
    log_of,
    people_of,
    queued,
    stored,
    text,
    undone,
)
from tests.integration.house import Call, Device, House

CONV = "g:g"
LATER = 10**13
OUTSIDE = ("left", "removed", "asking", "stranger")
ROLES = ("owner", "admin", "member", "muted", *OUTSIDE)
CALLERS = dict(zip(ROLES, ("alice", "adam", "mia", "moe", "leo", "rem", "ash", "sam"), strict=True))
OTHERS = {"owner": "alice", "admin": "ada", "member": "max", "stranger": "nora", "former": "lea", "asking": "ask"}
"""Whom acts are about: others than their callers, the owner apart."""

TABLE = """
act                     owner       admin       member      muted       left        removed     asking      stranger

info                    reads       reads       reads       reads       not_member  not_member  not_member  not_member
members                 reads       reads       reads       reads       not_member  not_member  not_member  not_member
mine                    reads       reads       reads       reads       reads       reads       reads       reads
requests                reads       reads       forbidden   forbidden   not_member  not_member  not_member  not_member
create                  same        conflict    conflict    conflict    conflict    conflict    conflict    conflict

invite stranger         done        done        done        done        not_member  not_member  not_member  not_member
invite former           done        done        done        done        not_member  not_member  not_member  not_member
invite asking           done        done        done        done        not_member  not_member  not_member  not_member
invite member           same        same        same        same        not_member  not_member  not_member  not_member
invite self             same        same        same        same        not_member  not_member  not_member  not_member

join                    same        same        same        same        forbidden   forbidden   forbidden   forbidden
leave                   conflict    done        done        done        same        same        not_member  not_member

remove owner            bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
remove admin            done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
remove member           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
remove admin+member     done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
remove self+member      bad_request bad_request bad_request bad_request not_member  not_member  not_member  not_member
remove stranger         same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
remove former           same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
remove self             bad_request bad_request bad_request bad_request not_member  not_member  not_member  not_member

promote owner           bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
promote admin           same        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
promote member          done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
promote stranger        not_found   forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
promote former          not_found   forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
promote self            bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
demote owner            bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
demote admin            done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
demote member           same        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
demote stranger         not_found   forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
demote self             bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member

transfer owner          bad_request same        same        same        not_member  not_member  not_member  not_member
transfer admin          done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
transfer member         done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
transfer stranger       not_found   forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
transfer former         not_found   forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
transfer self           bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member

mute owner              bad_request forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
mute admin              done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member
mute member             done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
mute stranger           not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member
mute former             not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member
mute self               bad_request bad_request forbidden   forbidden   not_member  not_member  not_member  not_member
mute again              same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
unmute                  done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
mute all                done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
unmute all              same        same        forbidden   forbidden   not_member  not_member  not_member  not_member

update name             done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update notice           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update avatar           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update custom           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update history          done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update join_mode        done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update who_invites      done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update who_mentions_all done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
update again            same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
dissolve                done        forbidden   forbidden   forbidden   not_member  not_member  not_member  not_member

accept asking           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
accept member           same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
accept stranger         not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member
accept former           not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member
accept self             same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
refuse asking           drops       drops       forbidden   forbidden   not_member  not_member  not_member  not_member
refuse member           not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member
refuse stranger         not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member
refuse self             not_found   not_found   forbidden   forbidden   not_member  not_member  not_member  not_member

send                    done        done        done        muted       not_member  not_member  not_member  not_member
send @member            done        done        done        muted       not_member  not_member  not_member  not_member
send @all               done        done        forbidden   muted       not_member  not_member  not_member  not_member
"""

WHERE = {
    "open": """
join                    same        same        same        same        done        done        done        done
""",
    "approval": """
join                    same        same        same        same        asks        asks        asks        asks
""",
    "admins invite": """
invite stranger         done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
invite former           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
invite asking           done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
invite member           same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
invite self             same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
""",
    "members mention all": """
send @all               done        done        done        muted       not_member  not_member  not_member  not_member
""",
    "all muted": """
mute all                same        same        forbidden   forbidden   not_member  not_member  not_member  not_member
unmute all              done        done        forbidden   forbidden   not_member  not_member  not_member  not_member
send                    done        done        muted       muted       not_member  not_member  not_member  not_member
send @member            done        done        muted       muted       not_member  not_member  not_member  not_member
send @all               done        done        muted       muted       not_member  not_member  not_member  not_member
""",
    "dissolved": """
mine                    reads       reads       reads       reads       reads       reads       reads       reads
create                  conflict    conflict    conflict    conflict    conflict    conflict    conflict    conflict
join                    not_found   not_found   not_found   not_found   not_found   not_found   not_found   not_found
leave                   uncounts    uncounts    uncounts    uncounts    same        same        not_member  not_member
dissolve                same        not_member  not_member  not_member  not_member  not_member  not_member  not_member
""",
}
"""What is different in groups with these settings. In a dissolved group, what is not named here is `not_member`."""

SETTINGS: dict[str, dict[str, Any]] = {
    "open": {"join_mode": "open"},
    "approval": {"join_mode": "approval"},
    "admins invite": {"who_invites": "admins"},
    "members mention all": {"who_mentions_all": "members"},
}
GROUPS: tuple[tuple[str, ...], ...] = (
    (),
    ("open", "admins invite", "members mention all"),
    ("approval", "members mention all", "all muted"),
    ("dissolved",),
)
"""The groups that are tried, each by the settings that it has on top of the usual ones."""

NEW_VALUES: dict[str, Any] = {
    "name": "Other",
    "notice": "Read this.",
    "avatar": "https://pictures.example/2",
    "custom": {"a": [1, 2.5, None]},
    "history": True,
    "who_invites": {"members": "admins", "admins": "members"},
    "who_mentions_all": {"members": "admins", "admins": "members"},
    "join_mode": {"invite": "open", "open": "approval", "approval": "invite"},
}
"""For each field of group.update another value than it has; for some by the value that it has."""


@dataclass(frozen=True)
class Act:
    """One request, and what its entry says when it is done."""

    op: str
    data: dict[str, Any]
    kind: str = ""
    body: dict[str, Any] | None = None


def act(name: str, caller: str, head: dict[str, Any]) -> Act:
    """The act that the table names, done by `caller` in a group whose group.info is `head`."""
    verb, _, about = name.partition(" ")
    conv = {"conv": CONV}
    whom = [caller if who == "self" else OTHERS.get(who, who) for who in about.split("+")]
    user = conv | {"user": whom[0]}

    def members(**told: Any) -> dict[str, Any]:
        return {"added": [], "removed": [], "by": caller} | told

    def update(fields: dict[str, Any]) -> Act:
        return Act("group.update", conv | fields, "profile", fields)

    def send(**more: Any) -> Act:
        return Act("message.send", text("m1", CONV, **more), "text", {"text": "m1"})

    acts: dict[str, Callable[[], Act]] = {
        "info": lambda: Act("group.info", conv),
        "members": lambda: Act("group.members", conv),
        "mine": lambda: Act("group.mine", {}),
        "requests": lambda: Act("group.requests", conv),
        "create": lambda: Act("group.create", {"gid": "g", "name": "Mine", "members": ["nora"]}),
        "invite": lambda: Act("group.invite", conv | {"users": whom}, "members", members(added=whom)),
        "join": lambda: Act("group.join", conv | {"note": "Please."}, "members", members(added=[caller])),
        "leave": lambda: Act("group.leave", conv, "members", members(removed=[caller])),
        "remove": lambda: Act("group.remove", conv | {"users": whom}, "members", members(removed=whom)),
        "promote": lambda: Act("group.role", user | {"role": "admin"}, "members", members(roles={whom[0]: "admin"})),
        "demote": lambda: Act("group.role", user | {"role": "member"}, "members", members(roles={whom[0]: "member"})),
        "transfer": lambda: Act("group.transfer", user, "members", members(roles={whom[0]: "owner", caller: "member"})),
        "mute": lambda: Act("group.mute", user | {"until": LATER}, "members", members(muted={whom[0]: LATER})),
        "mute again": lambda: Act("group.mute", conv | {"user": CALLERS["muted"], "until": LATER}),
        "unmute": lambda: Act(
            "group.mute",
            conv | {"user": CALLERS["muted"], "until": 0},
            "members",
            members(muted={CALLERS["muted"]: 0}),
        ),
        "mute all": lambda: Act("group.mute", conv | {"until": LATER}, "profile", {"muted_until": LATER}),
        "unmute all": lambda: Act("group.mute", conv | {"until": 0}, "profile", {"muted_until": 0}),
        "update": lambda: update({about: _other_value(about, head)}),
        "update again": lambda: update({field: head[field] for field in NEW_VALUES}),
        "dissolve": lambda: Act("group.dissolve", conv, "profile", {"dissolved": True}),
        "accept": lambda: Act("group.decide", user | {"accept": True}, "members", members(added=whom)),
        "refuse": lambda: Act("group.decide", user | {"accept": False}),
        "send": send,
        "send @member": lambda: send(mentions=[OTHERS["member"]]),
        "send @all": lambda: send(mentions=["@all"]),
    }
    return acts.get(name, acts[verb])()


def _other_value(name: str, head: dict[str, Any]) -> Any:
    value = NEW_VALUES[name]
    return value[head[name]] if isinstance(value, dict) and name != "custom" else value


def rows_in(table: str) -> dict[str, dict[str, str]]:
    """What a table says: by act, then by role. No cell may be missing."""
    out: dict[str, dict[str, str]] = {}
    for line in table.strip().splitlines():
        if not line:
            continue
        name, cells = line[:24].strip(), line[24:].split()
        assert name not in out, f"{name}: twice"
        assert len(cells) == len(ROLES), f"{name}: {cells}"
        out[name] = dict(zip(ROLES, cells, strict=True))
    return out


def promised(settings: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """What becomes of each act of each role in a group with these settings."""
    usual = rows_in(TABLE)
    del usual["act"]
    if "dissolved" in settings:
        usual = {name: dict.fromkeys(ROLES, "not_member") for name in usual}
    for setting in settings:
        changed = rows_in(WHERE[setting])
        assert changed.keys() <= usual.keys()
        usual |= changed
    return usual


def prepared(house: House, settings: tuple[str, ...]) -> tuple[dict[str, Device], dict[str, Any]]:
    """A group with everybody in their roles, everything delivered; and its group.info."""
    people = people_of(house, " ".join(sorted({*CALLERS.values(), *OTHERS.values()})))
    alice = people["alice"]
    members = ["adam", "ada", "mia", "max", "moe", "leo", "rem", "lea"]
    alice.ok("group.create", {"gid": "g", "name": "G", "members": members, "join_mode": "approval"})
    for admin in ("adam", "ada"):
        alice.ok("group.role", {"conv": CONV, "user": admin, "role": "admin"})
    for name in ("leo", "lea"):
        people[name].ok("group.leave", {"conv": CONV})
    alice.ok("group.remove", {"conv": CONV, "users": ["rem"]})
    alice.ok("group.mute", {"conv": CONV, "user": "moe", "until": LATER})
    for name in ("ash", "ask"):
        people[name].ok("group.join", {"conv": CONV, "note": "Me too."})
    fields: dict[str, Any] = {"join_mode": "invite"}
    for setting in settings:
        fields |= SETTINGS.get(setting, {})
    alice.ok("group.update", {"conv": CONV} | fields)
    if "all muted" in settings:
        alice.ok("group.mute", {"conv": CONV, "until": LATER})
    head = alice.ok("group.info", {"conv": CONV})
    if "dissolved" in settings:
        alice.ok("group.dissolve", {"conv": CONV})
    house.fan_out()
    return people, head


READING = {"GetItem", "BatchGetItem", "TransactGetItems", "Query"}


def writing(calls: list[Call]) -> list[str]:
    return [call.action for call in calls if call.operation not in READING]


def _without_requests(tables: dict[str, Any]) -> dict[str, Any]:
    return tables | {"ConversationTable": [item for item in tables["ConversationTable"] if '"REQ#' not in item]}


class Trial:
    """One cell of the table."""

    def __init__(self, house: House, people: dict[str, Device], before: dict[str, Any], act: Act, user: str) -> None:
        self.house, self.people, self.before, self.act = house, people, before, act
        self.caller = people[user]

    def changes(self, word: str) -> bool:
        """Whether something is written when it becomes of the act what the word says."""
        return word != "reads" and hasattr(self, f"_{word}")

    def run(self, word: str) -> None:
        """Let the caller act; compare what becomes of it with the word of the table."""
        with self.house.watched() as calls:
            reply = self.caller.ask(self.act.op, self.act.data)
        check = getattr(self, f"_{word}", None)
        assert code_of(reply) == ("ok" if check else word), reply
        if check is not None:
            check(reply, calls)
        else:
            # A request that is not there is looked for by deleting it.
            assert writing(calls) in ([], ["dynamodb:DeleteItem"] if self.act.data.get("accept") is False else [])
            assert reply["error"]["retryable"] is False
            assert ("retry_after_ms" in reply["error"]) == (word == "muted")

    def _reads(self, _: dict[str, Any], calls: list[Call]) -> None:
        assert writing(calls) == []

    def _same(self, _: dict[str, Any], calls: list[Call]) -> None:
        log = log_of(CONV)
        written = writing(calls)
        if "dynamodb:TransactWriteItems" in written:
            written.remove("dynamodb:TransactWriteItems")
            assert everything(self.house) | {"queue": []} == self.before, "a transaction whose conditions were not met"
        assert written == ["sqs:SendMessage"]
        (again,) = queued(self.house)
        assert json.loads(again)["entry"]["seq"] == int(log[-1]["epoch"])

    def _done(self, reply: dict[str, Any], calls: list[Call]) -> None:
        log, sending = log_of(CONV), self.act.op == "message.send"
        newest = log[-1]
        *before, entry = (json.loads(body)["entry"] for body in queued(self.house))
        assert (newest["kind"], newest["from"]) == (self.act.kind, self.caller.user)
        assert json.loads(newest["body"]) == self.act.body
        assert int(newest["ts"]) == self.house.now
        assert (entry["seq"], entry["body"]) == (int(newest["seq"]), newest["body"])
        # A change queues the one right before it once more.
        assert [again["seq"] for again in before] in ([], [] if sending else [int(log[-2]["epoch"])])
        if sending:
            assert reply["data"]["seq"] == int(newest["seq"])
            assert json.loads(newest.get("mentions", "[]")) == self.act.data.get("mentions", [])
        else:
            assert writing(calls) == ["dynamodb:TransactWriteItems"] + ["sqs:SendMessage"] * (1 + len(before))
        check_groups()

    def _asks(self, reply: dict[str, Any], _: list[Call]) -> None:
        assert reply["data"] == {"state": "requested"}
        requests = self._requests()
        asked = {"user": self.caller.user, "note": "Please.", "asked_at": self.house.now}
        assert requests.pop(self.caller.user) == asked
        told = {"conv": CONV, "user": self.caller.user, "state": "requested", "note": "Please."}
        # Who asks again rings no bell again.
        for user in {"alice", "adam", "ada"} if self.caller.user != CALLERS["asking"] else ():
            assert self.people[user].got("request") == [told]
            self.people[user].pushes.clear()
        self._else_untouched(requests.keys())

    def _drops(self, _: dict[str, Any], __: list[Call]) -> None:
        requests = self._requests()
        assert OTHERS["asking"] not in requests
        asking = self.people[OTHERS["asking"]]
        assert asking.got("request") == [{"conv": CONV, "user": asking.user, "state": "refused"}]
        asking.pushes.clear()
        self._else_untouched(requests.keys())

    def _requests(self) -> dict[str, dict[str, Any]]:
        requests: dict[str, dict[str, Any]] = {}
        for item in stored("ConversationTable"):
            if item["sk"]["S"].startswith("REQ#"):
                user = item["sk"]["S"][4:]
                asked_at = int(item["asked_at"]["N"])
                requests[user] = {"user": item["user"]["S"], "note": item["note"]["S"], "asked_at": asked_at}
        return requests

    def _else_untouched(self, requests: Iterable[str]) -> None:
        """Everything is as before but for one request; `requests` are the users of the others."""
        assert set(requests) == {CALLERS["asking"], OTHERS["asking"]} - {self.caller.user, *self.act.data.values()}
        assert _without_requests(everything(self.house)) == _without_requests(self.before)
        assert not any(device.pushes for device in self.people.values())

    def _uncounts(self, _: dict[str, Any], calls: list[Call]) -> None:
        assert writing(calls) == ["sqs:SendMessage", "dynamodb:TransactWriteItems"]
        groups = {i["pk"]["S"]: i["count"]["N"] for i in stored("InboxTable") if i["sk"]["S"] == "USER"}
        assert groups[self.caller.user] == "0"
        check_groups()


def cells(settings: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """All cells of a group: act, role, word. What its settings say nothing about is tried by some, in turn: everybody
    has tried it in the group without any."""
    usual = promised(())
    turns = [itertools.cycle(roles) for roles in (ROLES[:2], (*ROLES[2:4], *ROLES[3:1:-1]), OUTSIDE)]
    for name, row in promised(settings).items():
        tried = [next(turn) for turn in turns]
        for role, word in row.items():
            if role in tried or not settings or word not in {usual[name][role], "not_member"}:
                yield name, role, word


@pytest.mark.parametrize("settings", GROUPS, ids=lambda settings: ", ".join(settings) or "plain")
def test_everybody_may_do_what_they_may_and_nothing_else(house: House, settings: tuple[str, ...]) -> None:
    people, head = prepared(house, settings)
    for device in people.values():
        device.pushes.clear()
    before = everything(house)
    assert before["queue"] == []
    house.queued.clear()  # five minutes later

    for name, role, word in cells(settings):
        caller = CALLERS[role]
        trial = Trial(house, people, before, act(name, caller, head), caller)
        try:
            if trial.changes(word):
                with undone(house):
                    trial.run(word)
            else:
                trial.run(word)
        except AssertionError as e:
            raise AssertionError(f"{name} by {role} should be {word}: {e}") from e

    assert everything(house) == before
    assert not any(device.pushes for device in people.values())


def test_the_table_has_every_operation_every_field_and_every_setting(house: House) -> None:
    head = dict.fromkeys(NEW_VALUES) | {"join_mode": "open", "who_invites": "admins", "who_mentions_all": "admins"}
    acts = {name: act(name, "alice", head) for name in promised(())}

    asked = {one.op.partition(".")[2] for one in acts.values() if one.op.startswith("group.")}
    assert asked == set(house.apps["group"].router.operations)
    fields = {field for one in acts.values() if one.op == "group.update" for field in one.data if len(one.data) == 2}
    assert fields - {"conv"} == set(GroupUpdate.model_fields) - {"conv"} == set(NEW_VALUES)
    assert {setting for group in GROUPS for setting in group} == set(WHERE)
    words = {word for group in GROUPS for _, _, word in cells(group)}
    assert words - {name[1:] for name in vars(Trial) if name.startswith("_")} == {
        "bad_request",
        "conflict",
        "forbidden",
        "muted",
        "not_found",
        "not_member",
    }
