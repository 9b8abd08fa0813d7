"""A right history passes; broken in one way, it is found broken in just that way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from imclient.history import Kind
from tests.unit.client.history_world import DIRECT, TEAM, Data, History, right_history

Break = Callable[[History], object]


def test_a_right_history_passes(tmp_path: Path) -> None:
    verdict = right_history().check(tmp_path)

    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.passed
    counts = verdict.counts
    assert (counts.recordings, counts.devices, counts.conversations) == (7, 7, 2)
    assert (counts.sent, counts.acked, counts.stored, counts.entries) == (5, 5, 5, 13)
    assert (counts.resent, counts.repeated_replies, counts.duplicates_dropped) == (1, 1, 1)
    assert counts.delivered == 4 * 7 + 4 * 6 + 6 + 3 + 3


def set_to(found: Callable[[History], Data], **values: object) -> Break:
    """Change fields of something in a history."""
    return lambda history: found(history).update(values)


def without(found: Callable[[History], Data], *names: str) -> Break:
    """Take fields away."""
    return lambda history: [found(history).pop(name) for name in names]


def no_item(table: str, found: Callable[[History], Data]) -> Break:
    """Take an item away."""
    return lambda history: history.tables[table].remove(found(history))


def stored_again(conv: str, seq: int, at: int, *, n: int) -> Break:
    """Store an entry once more, at the end."""

    def broken(history: History) -> None:
        item = copy.deepcopy(history.entry(conv, seq))
        for name in ("changed", "edited", "original", "reactions", "pinned"):
            item.pop(name, None)
        item |= {"sk": {"S": f"MSG#{at:012d}"}, "seq": {"N": str(at)}, "n": {"N": str(n)}}
        history.tables["Conversation"].append(item)

    return broken


def got(device: str, frame: Data, *, before_the_end: int = 3) -> Break:
    """A device got one more frame."""

    def broken(history: History) -> None:
        lines = history.lines[device]
        at = lines[-before_the_end]["at"]
        lines.insert(-before_the_end, {"at": at, "event": "in", "connection": 1, "frame": frame})

    return broken


def got_again(device: str, conv: str, number: int, of: str, **changed: object) -> Break:
    """A device is pushed an entry that another device was pushed."""

    def broken(history: History) -> None:
        entry = history.pushed(of, conv, number) | changed
        got(device, {"push": "entries", "data": {"conv": conv, "entries": [entry]}})(history)

    return broken


def fetched(history: History, device: str, seq: int) -> Data:
    """An entry of a device's first page."""
    entries = history.reply(device, "sync.entries")["data"]["entries"]
    return next(entry for entry in entries if entry["seq"] == seq)


def page_without(device: str, seq: int) -> Break:
    return lambda h: h.reply(device, "sync.entries")["data"]["entries"].remove(fetched(h, device, seq))


def asked(device: str, op: str, data: Data, told: Data, *, before: str = "") -> Break:
    """A device made one more request: at the end, or before its first request `before`."""

    def broken(history: History) -> None:
        lines = history.lines[device]
        place = lines.index(history.request(device, before)) if before else len(lines) - 3
        at = lines[place]["at"] - 5
        route, _, name = op.partition(".")
        frame = {"route": route, "op": name, "id": "r900", "data": data}
        lines[place:place] = [
            {"at": at, "event": "out", "connection": 1, "frame": frame},
            {"at": at + 1, "event": "in", "connection": 1, "frame": {"id": "r900", "ok": True, "data": told}},
        ]

    return broken


def entries(conv: str, *some: Data) -> Data:
    return {"push": "entries", "data": {"conv": conv, "entries": list(some)}}


def row_of_bob(history: History) -> Data:
    return history.reply("bob.new", "sync.inbox")["data"]["conversations"][0]


def said_of_team(history: History) -> Data:
    """The message that was edited, as bob's new device fetches it, upwards."""
    page = history.reply("bob.new", "sync.entries", 1)["data"]["entries"]
    return next(entry for entry in page if entry["seq"] == 2)


def sent_twice(history: History) -> None:
    """bob's second message has the cmid of his first."""
    first, second = (history.request("bob.pc", "message.send", n)["frame"]["data"] for n in (0, 1))
    second["cmid"] = first["cmid"]


CLOSED_ROW: Data = {"conv": TEAM, "last_seq": 6, "last_n": 2, "read_seq": 3, "read_n": 1, "unread": 1}

LOSS: dict[str, tuple[str, Break]] = {
    "acked, not stored": (
        "acknowledged as entry 99",
        set_to(lambda h: h.reply("carol.pc", "message.send")["data"], seq=99),
    ),
    "acked as somebody else's entry": (
        "where a text of carol stands",
        set_to(lambda h: h.entry(TEAM, 5), cmid={"S": "c-other"}),
    ),
    "not held at rest": ("does not hold 5", set_to(lambda h: h.holds("bob.pc", DIRECT), seqs=[[1, 4], [6, 7]])),
    "nothing held at rest": ("holds nothing", lambda h: h.lines["bob.new"].remove(h.holds("bob.new", DIRECT))),
    "held, not stored": ("holds 8, which", set_to(lambda h: h.holds("bob.pc", DIRECT), seqs=[[1, 8]])),
    "held, a whole conversation": (
        "holds a conversation",
        lambda h: h.lines["bob.pc"].append(h.holds("bob.pc", TEAM) | {"conv": "g:none"}),
    ),
    "pushed, not stored": ("was told of entry 8", got_again("bob.pc", DIRECT, 7, "alice.pc", seq=8)),
    "left out of a page": ("leaves out [3]", page_without("carol.pc", 3)),
    "a page that ends too early": (
        "ends at 4",
        lambda h: (page_without("dave.pc", 5)(h), h.reply("dave.pc", "sync.entries")["data"].update(last_seq=4)),
    ),
    "deleted, and not": (
        "were deleted, and are not",
        set_to(lambda h: h.reply("carol.pc", "message.delete")["data"], ranges=[[2, 3]]),
    ),
    "asked to be deleted, and not": (
        "is not among what was deleted",
        set_to(lambda h: h.request("carol.pc", "message.delete")["frame"]["data"], seqs=[2, 3]),
    ),
    "invited, and not": (
        "does not say so of zoe",
        set_to(lambda h: h.reply("alice.phone", "group.invite")["data"], users=["zoe"]),
    ),
    "a quote of nothing": ("shows entry 99", set_to(lambda h: h.pushed("alice.pc", DIRECT, 2)["quote"], seq=99)),
}

DUPLICATION: dict[str, tuple[str, Break]] = {
    "one cmid, two entries": ("is stored as 5 and as 7", stored_again(TEAM, 5, 7, n=3)),
    "one reaction, twice": ("changes nothing", stored_again(DIRECT, 6, 8, n=3)),
    "one recall, twice": ("is recalled by 5 and by 8", stored_again(DIRECT, 5, 8, n=3)),
    "shown twice": ("showed 1 entries", set_to(lambda h: h.holds("bob.pc", TEAM), shown=1)),
}

ORDER: dict[str, tuple[str, Break]] = {
    "a push with a gap": ("not ascending and consecutive", got("bob.pc", entries(TEAM, {"seq": 1}, {"seq": 3}))),
    "a push among those of another conversation": (
        "came among those of g:other",
        set_to(lambda h: h.pushed("carol.pc", TEAM, 2), conv="g:other"),
    ),
    "another seq for another client": (
        "in the log",
        lambda h: h.pushed("alice.pc", DIRECT, 4).update(h.pushed("alice.pc", DIRECT, 2), seq=4),
    ),
    "n that does not count": ("has n 2, it is 1", set_to(lambda h: h.pushed("carol.pc", TEAM, 2), n=2)),
    "n in a reply that does not count": (
        "acknowledged with n 9",
        set_to(lambda h: h.reply("carol.pc", "message.send")["data"], n=9),
    ),
    "n in the log that does not count": ("it is number 2", set_to(lambda h: h.entry(TEAM, 5), n={"N": "3"})),
    "a page out of order": ("a page of", lambda h: h.reply("dave.pc", "sync.entries")["data"]["entries"].reverse()),
    "a page that begins too early": (
        "after 2 comes 1",
        set_to(lambda h: h.request("carol.pc", "sync.entries")["frame"]["data"], after=2),
    ),
    "a page down that begins too late": (
        "before 5 comes 7",
        set_to(lambda h: h.request("bob.new", "sync.entries")["frame"]["data"], before=5),
    ),
    "an end that is none": (
        "last_seq 99",
        set_to(lambda h: h.reply("carol.pc", "sync.entries")["data"], last_seq=99),
    ),
    "sent after a later entry was known": (
        "was first asked for at",
        lambda h: h.request("bob.pc", "message.send").update(at=h.lines["bob.pc"][-4]["at"]),
    ),
}

HOLE: dict[str, tuple[str, Break]] = {
    "a hole in the log": ("no entry has seq 6", no_item("Conversation", lambda h: h.entry(DIRECT, 6))),
}

UNREAD: dict[str, tuple[str, Break]] = {
    "a row that stays behind": (
        "the row ends at 4",
        set_to(lambda h: h.row("dave", TEAM), last_seq={"N": "4"}, last_n={"N": "1"}),
    ),
    "a row with another count": ("the row has last_n 3", set_to(lambda h: h.row("dave", TEAM), last_n={"N": "3"})),
    "own messages unread": (
        "1 unread; 0 of others",
        set_to(lambda h: h.row("carol", TEAM), read_seq={"N": "4"}, read_n={"N": "1"}),
    ),
    "no row": ("dave has no inbox row", no_item("Inbox", lambda h: h.row("dave", TEAM))),
    "a row that goes on after leaving": ("left_seq 0, it is 3", without(lambda h: h.row("erin", TEAM), "left_seq")),
    "a total that is not the sum": (
        "3 unread, and the parts make 2",
        set_to(lambda h: h.reply("bob.new", "sync.unread")["data"], total_unread=3),
    ),
    "no total": ("no total", without(lambda h: h.reply("bob.new", "sync.unread")["data"], "total_unread")),
    "a part of nothing": (
        "a part of 0",
        set_to(lambda h: h.reply("bob.new", "sync.unread")["data"]["conversations"], **{DIRECT: 0}),
    ),
    "less in all than in one": (
        "2 unread of 1 in all",
        set_to(lambda h: h.reply("alice.phone", "sync.read")["data"], unread=2),
    ),
    "less in all than in one, on another device": (
        "5 unread of 1",
        set_to(lambda h: h.push("alice.pc", "read"), unread=5),
    ),
    "another count of what was read": ("was told n 2", set_to(lambda h: h.push("alice.pc", "read"), n=2)),
    "a told row with another count": ("the row has 1 unread, and", set_to(row_of_bob, unread=1)),
    "a row that ends in what is closed": (
        "the row ends at 2, which is closed",
        got("dave.pc", {"push": "row", "data": CLOSED_ROW | {"last_seq": 2, "last_n": 1, "unread": 0}}),
    ),
    "a told row of another end": ("the row has last_n 3 at entry 3", set_to(row_of_bob, last_seq=3)),
}

MARK: dict[str, tuple[str, Break]] = {
    "a mark that goes back": ("ack_seq is 6, and was 7", set_to(row_of_bob, ack_seq=6)),
    "a mark behind what was asked": (
        "read up to 5, and the mark is 4",
        set_to(lambda h: h.request("alice.phone", "sync.read")["frame"]["data"], seq=5),
    ),
    "a stored mark that went back": ("was 7, and is 6", set_to(lambda h: h.row("bob", DIRECT), ack_seq={"N": "6"})),
    "told of more than was read": ("read up to 7, and they", set_to(lambda h: h.push("bob.pc", "read"), seq=7)),
    "told of what there is not": ("read 99, which is not", set_to(lambda h: h.push("bob.pc", "read"), seq=99)),
    "told of more than is stored": (
        "was told read_seq 7 of alice",
        set_to(lambda h: h.reply("bob.pc", "sync.receipts")["data"]["marks"], read_seq=7),
    ),
    "told of more than was received": (
        "delivered up to 7, and they",
        set_to(lambda h: h.request("bob.pc", "sync.ack")["frame"]["data"]["acks"][0], seq=6),
    ),
}

VISIBILITY: dict[str, tuple[str, Break]] = {
    "pushed before they came": ("told of entry 2, which is closed", got_again("dave.pc", TEAM, 2, "bob.pc")),
    "pushed after they went": ("told of entry 5, which is closed", got_again("erin.pc", TEAM, 5, "bob.pc")),
    "pushed to a stranger": ("told of entry 4, which is closed", got_again("dave.pc", DIRECT, 4, "alice.pc")),
    "changed after they went, and shown": (
        "shows change 6, closed to them",
        lambda h: h.pushed("erin.pc", TEAM, 2).update(
            changed=6, edited=said_of_team(h)["edited"], body={"text": "only us four"}
        ),
    ),
    "an edit of what is closed": (
        "of message 2, closed to them",
        lambda h: h.pushed("dave.pc", TEAM, 6)["body"].update(body={"text": "only us four"}),
    ),
    "a row that shows what is closed": (
        "shows entry 2, which is closed",
        lambda h: got(
            "dave.pc",
            {"push": "row", "data": CLOSED_ROW | {"last": {**h.pushed("bob.pc", TEAM, 2), "preview": "only us"}}},
        )(h),
    ),
    "held, and closed": ("holds 2 to 3, which is closed", set_to(lambda h: h.holds("dave.pc", TEAM), seqs=[[2, 6]])),
    "recalled, and told": (
        "tells what was recalled",
        lambda h: (
            fetched(h, "bob.new", 4).pop("recalled"),
            fetched(h, "bob.new", 4).pop("changed"),
            fetched(h, "bob.new", 4).update(body={"text": "a secret"}),
        ),
    ),
    "recalled, and its text left": (
        "is recalled and says",
        lambda h: fetched(h, "bob.new", 4).update(body={"text": "a secret"}),
    ),
    "recalled, and shown in the list": (
        "of entry 4, which is recalled",
        set_to(lambda h: row_of_bob(h)["last"], preview="a secret"),
    ),
    "recalled, and its versions told": (
        "tells what message 4 said",
        asked(
            "bob.new",
            "sync.edits",
            {"conv": DIRECT, "seq": 4},
            {"versions": [{"seq": 4, "ts": 1, "body": {"text": "a secret"}}]},
        ),
    ),
    "deleted, and given": (
        "which they have deleted",
        lambda h: fetched(h, "carol.pc", 2).update(h.pushed("carol.pc", TEAM, 2)),
    ),
    "sent by who had left": ("is no member, and sent", set_to(lambda h: h.entry(TEAM, 5), **{"from": {"S": "erin"}})),
    "told what is hidden": (
        "who hides it",
        asked("alice.phone", "sync.privacy", {"receipts": False}, {"receipts": False}, before="sync.read"),
    ),
}

CONTENT: dict[str, tuple[str, Break]] = {
    "another text for another client": (
        "message 2 as sent is",
        set_to(lambda h: h.pushed("carol.pc", TEAM, 2), body={"text": "only you"}),
    ),
    "stored other than sent": (
        "message 5 as sent is",
        set_to(lambda h: h.entry(TEAM, 5), body={"S": '{"text":"go away, dave"}'}),
    ),
    "an edit that nobody made": (
        "message 1 as edited by 3 is",
        set_to(lambda h: h.pushed("alice.pc", DIRECT, 3)["body"], body={"text": "good night"}),
    ),
    "an edit of another message": (
        "edit 3 is of 1, not",
        set_to(lambda h: h.pushed("alice.pc", DIRECT, 3)["body"], target=2),
    ),
    "an edit that says nothing": (
        "edit 3 came without the body",
        without(lambda h: h.pushed("bob.pc", DIRECT, 3)["body"], "body"),
    ),
    "an edit that a page does not know": (
        "came without its change 6",
        lambda h: (
            [said_of_team(h).pop(name) for name in ("changed", "edited")],
            said_of_team(h).update(body={"text": "only us"}),
        ),
    ),
    "a change that there is not": ("has no change 99", set_to(said_of_team, changed=99)),
    "another time": (
        "acknowledged with ts 7",
        set_to(lambda h: h.reply("carol.pc", "message.send")["data"], ts=7),
    ),
    "other mentions": (
        "has other mentions",
        set_to(lambda h: h.pushed("carol.pc", TEAM, 2), mentions=["bob"]),
    ),
    "a reaction too many": (
        "as changed by 7 is",
        lambda h: fetched(h, "bob.new", 2)["reactions"]["👍"].update(count=2),
    ),
    "not pinned": ("as changed by 7 is", lambda h: fetched(h, "bob.new", 2).pop("pinned")),
    "void, and not deleted": (
        "they have not deleted 2",
        no_item("Inbox", lambda h: h.item("Inbox", "carol", f"WITHOUT#{TEAM}")),
    ),
    "a quote of another text": (
        "the preview of message 1",
        set_to(lambda h: h.pushed("alice.pc", DIRECT, 2)["quote"], preview="hello!"),
    ),
    "a quote of another message": (
        "answers 1, and quotes",
        set_to(lambda h: h.pushed("alice.pc", DIRECT, 2)["quote"], seq=2),
    ),
    "a list that shows another sender": (
        "shows entry 4 as ('text', 'alice'",
        set_to(lambda h: row_of_bob(h)["last"], **{"from": "alice"}),
    ),
    "a list that shows a change that there is not": (
        "shows entry 4 as changed by 99",
        set_to(lambda h: row_of_bob(h)["last"], changed=99),
    ),
    "stored as not edited": ("is stored as", without(lambda h: h.entry(DIRECT, 1), "edited", "changed")),
    "changed what is no message": (
        "which is no message before it",
        set_to(lambda h: h.entry(DIRECT, 7), body={"S": '{"target":3,"on":true}'}),
    ),
    "changed what is recalled": (
        "is recalled by 5, and changed by 7",
        set_to(lambda h: h.entry(DIRECT, 7), body={"S": '{"target":4,"on":true}'}),
    ),
    "a notice that says something else": (
        "entry 4 is {",
        set_to(lambda h: h.pushed("bob.pc", TEAM, 4)["body"], added=["dave", "zoe"]),
    ),
    "a push of nothing": ("a push of entries without entries", got("bob.pc", entries(TEAM))),
}

REPLY: dict[str, tuple[str, Break]] = {
    "two replies that differ": (
        "replies that differ",
        lambda h: [f for f in h.frames("alice.phone") if f.get("id")][1]["data"].update(ts=7),
    ),
    "one cmid, two results": ("was acknowledged differently", sent_twice),
    "a reply without a request": ("a reply without a request", got("bob.pc", {"id": "r999", "ok": True, "data": {}})),
    "more replies than frames": (
        "2 replies to 1 frames",
        lambda h: h.lines["bob.pc"].append(
            next(li for li in h.lines["bob.pc"] if li.get("event") == "in" and "id" in li["frame"])
        ),
    ),
    "neither a reply nor a push": ("neither a reply nor a push", got("bob.pc", {"hello": "world"})),
    "a push with an id": ("a push inbox with an id", got("bob.pc", {"push": "inbox", "data": {}, "id": "r1"})),
    "neither data nor an error": (
        "neither data nor an error",
        without(lambda h: h.reply("bob.new", "sync.unread"), "data"),
    ),
}

BREAKS = {
    Kind.LOSS: LOSS,
    Kind.DUPLICATION: DUPLICATION,
    Kind.ORDER: ORDER,
    Kind.HOLE: HOLE,
    Kind.UNREAD: UNREAD,
    Kind.MARK: MARK,
    Kind.VISIBILITY: VISIBILITY,
    Kind.CONTENT: CONTENT,
    Kind.REPLY: REPLY,
}


@pytest.mark.parametrize(
    ("kind", "says", "broken"),
    [
        pytest.param(kind, says, broken, id=f"{kind}: {name}")
        for kind, some in BREAKS.items()
        for name, (says, broken) in some.items()
    ],
)
def test_what_is_broken_is_found_by_its_kind(kind: Kind, says: str, broken: Break, tmp_path: Path) -> None:
    history = right_history()
    broken(history)

    verdict = history.check(tmp_path)

    found = [violation for violation in verdict.violations if violation.kind is kind and says in violation.text]
    assert found, [str(violation) for violation in verdict.violations]
    assert not verdict.passed


def test_there_is_a_break_of_every_kind() -> None:
    assert BREAKS.keys() == set(Kind)


def test_what_api_gateway_itself_answers_is_no_reply_and_no_violation(tmp_path: Path) -> None:
    history = right_history()
    got("bob.pc", {"message": "Internal server error", "connectionId": "abc=", "requestId": "r"})(history)

    verdict = history.check(tmp_path)

    assert (verdict.violations, verdict.counts.gateway_failures) == ((), 1)


def test_a_read_that_may_lag_is_no_violation_where_reads_do(tmp_path: Path) -> None:
    history = right_history()
    row_of_bob(history)["ack_seq"] = 6

    assert history.check(tmp_path).kinds == {Kind.MARK}
    assert history.check(tmp_path, lagging_reads=True).passed
