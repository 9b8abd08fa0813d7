"""Pushes to the devices of users, and what their absence means for the slots."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from im.domain.ids import ConnectionId, UserId
from im.domain.push import PushOutcome
from im.domain.signin import Slot
from im.flows.ports import Pusher
from im.store.connections import ConnectionStore

log = logging.getLogger("im")

YOUNG_MS: Final = 35_000
"""Longer than API Gateway waits for `$connect` (29 s)."""


def push_frames_to(
    pusher: Pusher, connections: ConnectionStore, user: UserId, slot: Slot, frames: Iterable[str], now: int
) -> PushOutcome:
    """Push `frames` in order to one connection, up to the first that does not arrive.

    A connection that API Gateway does not know loses its slot, if the slot still holds it; the conditional write of
    `drop` sees to that. Not a young one: a connection is registered during `$connect` and can be reached only after
    it, so for some moments a connection that is about to live looks gone.

    Never raises: a push is a courtesy, and what is wrong with one must not harm what was stored or the other pushes.
    """
    if not slot.alive(now):
        return PushOutcome.GONE
    outcome = PushOutcome.SENT
    try:
        for frame in frames:
            outcome = pusher.push(slot.connection, frame)
            if outcome is not PushOutcome.SENT:
                break
        if outcome is PushOutcome.GONE and now - slot.since > YOUNG_MS:
            connections.drop(user, slot.name, slot.connection, now)
    except Exception:
        log.exception("push failed", extra={"user": user, "connection": slot.connection})
        return PushOutcome.FAILED
    return outcome


def push_to_users(
    pusher: Pusher,
    connections: ConnectionStore,
    frames: Mapping[UserId, Sequence[str]],
    now: int,
    *,
    skip: ConnectionId | None,
    threads: Executor | None = None,
) -> None:
    """Push each user's frames to all of their devices but the connection `skip`. ½ R a user. Never raises.

    One connection after the other; with `threads`, several at once.
    """
    try:
        found = connections.of(list(frames))
    except Exception:
        log.exception("no connections could be read: nobody is pushed to")
        return
    targets = [(user, slot) for user, theirs in found.items() for slot in theirs.slots if slot.connection != skip]

    def push(target: tuple[UserId, Slot]) -> None:
        user, slot = target
        push_frames_to(pusher, connections, user, slot, frames[user], now)

    list(map(push, targets) if threads is None else threads.map(push, targets))
