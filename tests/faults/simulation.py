"""One seeded run of everything: real clients, real functions, faults everywhere, then rest, and a verdict.

A seed decides all of it: who does what when, how long each frame, push and AWS call takes, what breaks. Virtual time
(virtual_time.py) makes some minutes of it take a fraction of a second.
"""

from __future__ import annotations

import asyncio
import random as global_random
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import pytest

from imclient.errors import ConnectionLostError
from imclient.history import Recording, Tables, check
from imclient.transcript import Transcript
from tests.faults import cloud as clouds
from tests.faults.cloud import Cloud, Complaints
from tests.faults.network import Gateway
from tests.faults.people import App, People, settings
from tests.faults.virtual_time import VirtualLoop, run
from tests.integration.house import House

USERS: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "henry")
REST_S: Final = 1500
"""How long everything may take to come to rest."""
RATES: Final = (0.0, 0.004, 0.01, 0.03)


@dataclass
class Outcome:
    """What came of a seed."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass
class Stage:
    """Where seeds are played one after the other."""

    house: House
    complaints: Complaints
    monkeypatch: pytest.MonkeyPatch

    def play(self, seed: int, *, traced: bool = False, length_s: float = 60) -> Outcome:
        """Play one seed."""
        return _Play(self, seed, traced=traced).play(length_s)


@contextmanager
def stage() -> Iterator[Stage]:
    """Everything that seeds share."""
    with pytest.MonkeyPatch.context() as monkeypatch, clouds.ready(monkeypatch) as (house, complaints):
        yield Stage(house, complaints, monkeypatch)


class _Play:
    def __init__(self, stage: Stage, seed: int, *, traced: bool) -> None:
        self.stage, self.outcome, self.traced = stage, Outcome(seed), traced
        self.loop, self.random = VirtualLoop(), Random(seed)
        global_random.seed(seed)
        ids = Random(seed)
        stage.monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4))
        happened = self.outcome.happened
        self.cloud = Cloud(self.loop, self.random, happened, self.note, stage.house)
        self.gateway = Gateway(self.cloud, self.random, happened, self.note)
        self.cloud.gateway = self.gateway
        users = list(USERS[: self.random.randint(5, 7)])
        wait = settings(self.random)
        self.ping_every = wait.ping_every / 1000
        apps = [App(self.gateway, user, "pc", "desktop", wait) for user in users]
        with_phones = users[: self.random.randint(1, 3)]
        apps += [App(self.gateway, user, "phone", "ios", wait) for user in with_phones]
        if self.random.random() < 0.5:  # one of its user's two phones at a time
            apps.append(App(self.gateway, users[0], "phone2", "android", wait))
        self.people = People(self.gateway, self.random, happened, users, apps)
        self.fresh: list[App] = [App(self.gateway, user, "new", "web", wait) for user in users]

    def note(self, line: str) -> None:
        if self.traced:
            self.outcome.trace.append(f"{self.loop.now:9.3f}  {line}")

    def play(self, length_s: float) -> Outcome:
        clouds.in_use.append(self.cloud)
        self.stage.complaints.last.clear()
        self.loop.set_exception_handler(self._unhandled)
        try:
            run(self._story(length_s), self.loop)
        except Exception:  # noqa: BLE001 - whatever it is: the seed is told with it
            self.outcome.wrong.append(traceback.format_exc())
        finally:
            clouds.in_use.remove(self.cloud)
        self.outcome.wrong += self.people.wrong
        self.judge()
        return self.outcome

    def _unhandled(self, _: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.outcome.wrong.append(f"{context['message']}: {error!r}")

    async def _story(self, length_s: float) -> None:
        people = self.people
        await people.apps[0].start()
        await people.found_groups()
        await asyncio.gather(*(app.start() for app in people.apps[1:]))
        self.cloud.rate = self.random.choice(RATES)
        until = self.loop.now + length_s
        lives = [asyncio.create_task(people.live(app, until)) for app in people.apps]
        if self.random.random() < 0.3:
            lives.append(asyncio.create_task(people.storm(until)))
        await asyncio.gather(people.disturb(until), *lives)
        await asyncio.gather(*people.tasks)
        await self.rest()
        await self.look_anew()

    async def rest(self) -> None:
        """No more faults; everybody is there; all that is under way arrives, and then some pings."""
        self.note("---- no more faults")
        self.cloud.rate = clouds.QUIET
        self.gateway.harsh = self.cloud.delivery.harsh = False
        self.gateway.out.clear()
        for app in self.people.apps:
            if not app.running:
                await app.stop()
                if not any(other.running for other in self._rivals(app)):
                    await app.start()
        await asyncio.sleep(self.ping_every + 12)
        end = self.loop.now + REST_S
        while self.cloud.busy or not _complete(self.people.apps):
            if any(queue.dead for queue in self.cloud.queues.values()):
                for queue in self.cloud.queues.values():
                    queue.redrive()
            await asyncio.sleep(10)
            if self.loop.now > end:
                self.outcome.wrong.append(f"no rest: {self.what_is_left()}")
                break
        await asyncio.sleep(2 * self.ping_every + 5)

    def what_is_left(self) -> str:
        """What keeps it from coming to rest."""
        queues = {queue.name: len(queue.messages) for queue in self.cloud.queues.values()}
        lacks = [
            f"{app.name} lacks {transcript.missing()} of {transcript.conv}"
            for app in self.people.apps
            if app.session is not None
            for transcript in app.session.transcripts.values()
            if not transcript.complete
        ]
        return f"{queues} {lacks}"

    async def look_anew(self) -> None:
        """A new device of each user is shown the same as those that were there all the time."""
        self.note("---- new devices")
        for new in self.fresh:
            await new.start()
        end = self.loop.now + REST_S
        while not _complete(self.fresh) and self.loop.now < end:
            await asyncio.sleep(3)
        for new in self.fresh:
            assert new.session is not None
            unread = await new.session.call("sync", "unread", {})
            total = sum(row["unread"] for row in new.session.rows.values())
            if unread["total_unread"] != total:
                self.outcome.wrong.append(f"{new.user}: {total} unread, and {unread['total_unread']} in all")
            for app in self.people.apps:
                if app.user == new.user:
                    self._compare(app, new)
        for app in [*self.people.apps, *self.fresh]:
            await self._close(app)

    def _compare(self, app: App, new: App) -> None:
        wrong = self.outcome.wrong
        if app.session is None or app.session.failure is not None:
            self.outcome.happened["devices that are not there at the end"] += 1
            return
        assert new.session is not None
        mine, theirs = _rows(app), _rows(new)
        for conv in sorted(mine.keys() | theirs.keys()):
            if mine.get(conv) != theirs.get(conv):
                wrong.append(f"{app.name} shows {mine.get(conv)}, a new device {theirs.get(conv)}")
        held, anew = _held(app), _held(new)
        for conv in sorted(held.keys() | anew.keys()):
            if held.get(conv) != anew.get(conv):
                wrong.append(f"{app.name} holds {held.get(conv)} of {conv}, a new device {anew.get(conv)}")
            elif "left_seq" in theirs.get(conv, {}):
                continue  # nobody tells who has left of a recall: it is loaded anew when it comes to the screen
            elif (told := shown(app.session.transcripts[conv])) != (anew_told := shown(new.session.transcripts[conv])):
                differ = [seq for seq in told.keys() & anew_told.keys() if told[seq] != anew_told[seq]]
                wrong += [f"{app.name} shows {told[s]} as {s} of {conv}, a new device {anew_told[s]}" for s in differ]

    def _rivals(self, app: App) -> list[App]:
        """Who may kick it: the user's other mobile devices, when it is one."""
        others = [other for other in self.people.apps if other.user == app.user and other is not app]
        return [other for other in others if "pc" not in (app.device, other.device)]

    async def _close(self, app: App) -> None:
        if app.session is not None and app.running:
            for conv, transcript in sorted(app.session.transcripts.items()):
                seqs = [entry.seq for entry in transcript.entries()]
                app.recorder.holds(conv, seqs, shown=app.shown_twice, floor=transcript.floor)
        await app.stop()
        for end in app.ends:
            named = isinstance(end, ConnectionLostError) and end.kicked is not None
            self.outcome.happened["kicked"] += named
            if not named or not self._rivals(app):
                self.outcome.wrong.append(f"{app.name} ended: {end!r}")

    # ---- the verdict

    def judge(self) -> None:
        """What the clients have seen and what is stored, against the protocol."""
        outcome, tables = self.outcome, self.cloud.tables.tables
        self._stored_once()
        outcome.wrong += [f"logged: {line}" for line in self.stage.complaints.last if not _is_a_fault(line)]
        outcome.recordings = [app.recorder.recording for app in [*self.people.apps, *self.fresh]]
        for name in ("Conversation", "Inbox"):
            found = tables.get(f"{name}Table", {})
            outcome.tables[name] = [item for partition in found.values() for item in partition.values()]
        outcome.happened["messages acked"] += len(self.people.acked)
        verdict = check(outcome.recordings, Tables.of(outcome.tables["Conversation"], outcome.tables["Inbox"]))
        outcome.wrong += [f"{it.kind} in {it.conv}: {it.text}" for it in verdict.violations]

    def _stored_once(self) -> None:
        """Every message that was acked has its place in the log, and no other; no log has a hole."""
        for conv, partition in self.cloud.tables.tables.get("ConversationTable", {}).items():
            log = [item for sk, item in sorted(partition.items()) if sk.startswith("MSG#")]
            if [int(item["seq"]["N"]) for item in log] != list(range(1, len(log) + 1)):
                self.outcome.wrong.append(f"{conv} has holes")
            places: dict[tuple[str, str], list[int]] = {}
            for item in log:
                if "cmid" in item:
                    places.setdefault((item["from"]["S"], item["cmid"]["S"]), []).append(int(item["seq"]["N"]))
            for acked in self.people.acked:
                if acked.conv == conv and places.get((acked.user, acked.cmid)) != [acked.seq]:
                    self.outcome.wrong.append(f"{acked} is at {places.get((acked.user, acked.cmid))}")


def _complete(apps: Sequence[App]) -> bool:
    """Whether no client lacks anything that it knows of."""
    sessions = [app.session for app in apps if app.running]
    return all(t.complete for session in sessions if session for t in session.transcripts.values())


def shown(transcript: Transcript) -> dict[int, tuple[Any, ...]]:
    """The messages of a conversation as a device shows them: each as it came, and the changes after that, in order."""
    messages = {e.seq: e for e in transcript.entries() if e.countable}
    for change in transcript.entries():
        target = messages.get(change.body.get("target", 0))
        if target is None or change.seq <= target.changed or target.recalled_by is not None:
            continue
        reactions = dict(target.reactions)
        if change.kind == "edit" and "body" in change.body:
            target = replace(target, body=change.body["body"], edited=True)
        elif change.kind == "recall":
            target = replace(target, body={}, edited=False, recalled_by=change.sender, reactions={}, pinned=False)
        elif change.kind == "reaction":
            emoji = change.body["emoji"]
            reactions[emoji] = reactions.get(emoji, 0) + (1 if change.body["on"] else -1)
            target = replace(target, reactions={e: count for e, count in reactions.items() if count > 0})
        messages[target.seq] = target
    return {
        seq: (e.kind, e.sender, e.n, e.body, e.edited, e.recalled_by, sorted(e.reactions.items()))
        for seq, e in messages.items()
    }


def _rows(app: App) -> dict[str, dict[str, Any]]:
    """Its conversation list. An ack is no news, so devices need not agree on it."""
    assert app.session is not None
    return {conv: {k: v for k, v in row.items() if k != "ack_seq"} for conv, row in app.session.rows.items()}


def _held(app: App) -> dict[str, list[int]]:
    assert app.session is not None
    return {c: [e.seq for e in t.entries()] for c, t in app.session.transcripts.items() if len(t)}


FAULTS: Final = (
    "InternalServerError",
    "ThrottlingException",
    "ReadTimeoutError",
    "TooManyFailed",
    "still failing",
    "NotQueued",
    "PartsNotQueued",
)


def _is_a_fault(line: str) -> bool:
    """Whether a function has logged what was done to it."""
    return any(name in line for name in FAULTS)
