"""Puts the functions together: settings, clients, stores, flows, routers. Called once a cold start."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from im.aws import clients
from im.aws.check_queue import SqsCheckQueue
from im.aws.dead_letters import DeadLetters, Source
from im.aws.part_queue import SqsPartQueue
from im.aws.pusher import ConnectionPusher
from im.aws.queue import FanoutQueue
from im.aws.queue_messages import queue_name
from im.aws.retries import Retries
from im.aws.secrets import RotatingSecret
from im.aws.tokens import Keys, PublishedKeys, SharedSecret, TokenVerifier
from im.domain.group import GroupLimits
from im.domain.message_rules import Windows
from im.flows.admission import Admissions
from im.flows.append import Appended, Appender
from im.flows.audit import Auditor
from im.flows.broadcast import Broadcast
from im.flows.changes import Changes
from im.flows.connect import Connections
from im.flows.delete import Deleter
from im.flows.details import Details
from im.flows.fan_out import FanOut
from im.flows.fan_out_large import LargeFanOut
from im.flows.groups import Groups
from im.flows.mark import Marker
from im.flows.members import MemberLists
from im.flows.message_changes import MessageChanges
from im.flows.ports import Caller
from im.flows.presence import PresenceViewer
from im.flows.pull import Puller
from im.flows.push_entries import EntryPusher, Mix, as_found
from im.flows.receipts import Receipts
from im.flows.redeliver import Checks, Redelivery
from im.flows.row_writes import RowWriter
from im.flows.send import Sender
from im.flows.settings import Settings as UserSettings
from im.flows.typing import TypingPace, TypingTeller
from im.runtime.batches import Aside
from im.runtime.router import REPLIED, Router, operation
from im.runtime.settings import Settings
from im.runtime.sources import Express
from im.store.audience import AudienceStore
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.store.deletions import DeletionStore
from im.store.group_changes import GroupChangeStore
from im.store.group_rows import GroupRowStore
from im.store.groups import GroupStore
from im.store.inbox import InboxStore
from im.store.message_changes import MessageChangeStore
from im.store.others import OthersStore
from im.wire import requests
from im.wire.frames import Request, encode_reply

MARK_THREADS: Final = 8
"""Conversations that are marked as read at once."""

CONNECT_THREADS: Final = 8
"""Large groups of one user that are written to at once when a connection opens."""

TYPING_THREADS: Final = 8
"""Connections that are told at once that somebody is writing."""

PRESENCE_THREADS: Final = 16
"""Users at once whose groups are looked at."""

shuffle: Final[Mix] = secrets.SystemRandom().shuffle


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def token_verifier(settings: Settings) -> TokenVerifier:
    """For the authorizer."""
    jwks_url = settings.optional("JWKS_URL")
    if jwks_url is not None:
        keys: Keys = PublishedKeys(jwks_url)
    else:
        keys = SharedSecret(RotatingSecret(clients.secrets(), settings.text("JWT_SECRET_ID"), now_ms))
    return TokenVerifier(keys, settings.optional("JWT_ISSUER"), settings.optional("JWT_AUDIENCE"))


def connections(settings: Settings) -> Connections:
    """For opening and closing connections."""
    dynamodb = clients.dynamodb()
    return Connections(
        connections=ConnectionStore(dynamodb, settings.text("CONNECTION_TABLE")),
        inbox=InboxStore(dynamodb, settings.text("INBOX_TABLE")),
        group_rows=GroupRowStore(dynamodb, settings.text("INBOX_TABLE")),
        audience=AudienceStore(dynamodb, settings.text("AUDIENCE_TABLE")),
        pusher=ConnectionPusher(clients.connections(settings.text("CONNECTIONS_ENDPOINT"))),
        clock=now_ms,
        policy=settings.policy(),
        threads=ThreadPoolExecutor(CONNECT_THREADS, thread_name_prefix="connect"),
    )


def connect_router(flows: Connections) -> Router:
    """The route `connect`."""

    def ping(caller: Caller, request: Request) -> Mapping[str, Any] | None:
        pong = flows.ping(caller)
        data = {"ts": pong.ts, "inbox": pong.inbox}
        if pong.lost:
            flows.end_lost(caller, encode_reply(request.id, data))
            return REPLIED
        return data

    def logout(caller: Caller, request: Request) -> None:
        data = requests.parse(requests.Logout, request.data)
        flows.log_out(caller, encode_reply(request.id, {}), everywhere=data.devices == "all")
        return REPLIED

    return Router("connect", {"ping": ping, "logout": logout})


def message_router(settings: Settings) -> Router:
    """The route `message`."""
    dynamodb, table = clients.dynamodb(), settings.text("CONVERSATION_TABLE")
    log, groups = ConversationStore(dynamodb, table), GroupStore(dynamodb, table)
    admissions = Admissions(groups)
    queue = FanoutQueue(clients.sqs(), settings.text("FANOUT_QUEUE_URL"))
    devices = ConnectionStore(dynamodb, settings.text("CONNECTION_TABLE"))
    pusher = ConnectionPusher(clients.connections(settings.text("CONNECTIONS_ENDPOINT")))
    sender = Sender(log, groups, admissions, Appender(log, now_ms), queue)
    changes = MessageChanges(
        log=log,
        store=MessageChangeStore(dynamodb, table),
        admissions=admissions,
        queue=queue,
        clock=now_ms,
        windows=Windows(
            recall=settings.number("RECALL_WINDOW_SECONDS") * 1000, edit=settings.number("EDIT_WINDOW_SECONDS") * 1000
        ),
    )
    deleter = Deleter(log, groups, DeletionStore(dynamodb, settings.text("INBOX_TABLE")), devices, pusher, now_ms)
    typing = TypingTeller(
        admissions=admissions,
        log=log,
        members=MemberLists(groups, log),
        connections=devices,
        pusher=pusher,
        clock=now_ms,
        pace=TypingPace(),
        threads=ThreadPoolExecutor(TYPING_THREADS, thread_name_prefix="typing"),
    )

    def stored(appended: Appended) -> Mapping[str, Any]:
        entry = appended.entry
        return {
            "conv": entry.conv,
            "seq": entry.seq,
            "n": entry.n,
            "ts": entry.ts,
            "duplicate": appended.duplicate,
        }

    return Router(
        "message",
        {
            "send": operation(requests.Send, lambda caller, data: stored(sender.send(caller, data))),
            "forward": operation(requests.Forward, lambda caller, data: stored(sender.forward(caller, data))),
            "edit": operation(requests.Edit, lambda caller, data: stored(changes.edit(caller, data))),
            "recall": operation(requests.Recall, lambda caller, data: stored(changes.recall(caller, data))),
            "react": operation(requests.React, lambda caller, data: stored(changes.react(caller, data))),
            "pin": operation(requests.Pin, lambda caller, data: stored(changes.pin(caller, data))),
            "delete": operation(requests.Delete, deleter.delete),
            "typing": operation(requests.Typing, typing.tell),
        },
    )


def sync_router(settings: Settings) -> Router:
    """The route `sync`."""
    dynamodb = clients.dynamodb()
    store = ConversationStore(dynamodb, settings.text("CONVERSATION_TABLE"))
    groups = GroupStore(dynamodb, settings.text("CONVERSATION_TABLE"))
    inbox = InboxStore(dynamodb, settings.text("INBOX_TABLE"))
    others = OthersStore(dynamodb, settings.text("INBOX_TABLE"), inbox)
    deletions = DeletionStore(dynamodb, settings.text("INBOX_TABLE"))
    puller = Puller(store, groups, inbox, deletions)
    details = Details(store, groups, MessageChangeStore(dynamodb, settings.text("CONVERSATION_TABLE")), deletions)
    marker = Marker(
        store=store,
        groups=groups,
        inbox=inbox,
        connections=ConnectionStore(dynamodb, settings.text("CONNECTION_TABLE")),
        pusher=ConnectionPusher(clients.connections(settings.text("CONNECTIONS_ENDPOINT"))),
        clock=now_ms,
        threads=ThreadPoolExecutor(MARK_THREADS, thread_name_prefix="mark"),
    )

    deleter = Deleter(store, groups, deletions, marker.connections, marker.pusher, now_ms)
    presence = PresenceViewer(
        connections=marker.connections,
        others=others,
        clock=now_ms,
        threads=ThreadPoolExecutor(PRESENCE_THREADS, thread_name_prefix="presence"),
    )

    receipts = Receipts(store, groups, others)
    own = UserSettings(groups, inbox, puller, marker.connections, marker.pusher, now_ms)

    def ack(caller: Caller, request: requests.Ack) -> Mapping[str, Any]:
        marker.received(caller, request.acks)
        return {}

    return Router(
        "sync",
        {
            "inbox": operation(requests.Inbox, lambda caller, data: puller.conversations(caller.user, data)),
            "entries": operation(requests.Entries, lambda caller, data: puller.entries(caller.user, data)),
            "reactions": operation(requests.MessagePage, details.reactions),
            "edits": operation(requests.MessagePage, details.edits),
            "pins": operation(requests.ConvName, details.pins),
            "deleted": operation(requests.ConvName, deleter.deleted),
            "unread": operation(requests.Unread, lambda caller, data: puller.unread(caller.user, data)),
            "read": operation(requests.Mark, marker.read),
            "read_all": operation(requests.Nothing, lambda caller, _: marker.read_all(caller)),
            "receipts": operation(requests.Receipts, receipts.receipts),
            "settings": operation(requests.RowSettings, own.set_row),
            "privacy": operation(requests.Privacy, own.set_privacy),
            "ack": operation(requests.Ack, ack),
            "presence": operation(requests.Presence, presence.look),
        },
    )


def group_router(settings: Settings) -> Router:
    """The route `group`."""
    dynamodb, table = clients.dynamodb(), settings.text("CONVERSATION_TABLE")
    store, inbox = GroupStore(dynamodb, table), InboxStore(dynamodb, settings.text("INBOX_TABLE"))
    group_rows = GroupRowStore(dynamodb, settings.text("INBOX_TABLE"))
    groups = Groups(
        groups=store,
        inbox=inbox,
        group_rows=group_rows,
        changes=Changes(
            log=ConversationStore(dynamodb, table),
            groups=store,
            store=GroupChangeStore(dynamodb, table, group_rows),
            queue=FanoutQueue(clients.sqs(), settings.text("FANOUT_QUEUE_URL")),
            clock=now_ms,
            limits=_group_limits(settings),
        ),
        connections=ConnectionStore(dynamodb, settings.text("CONNECTION_TABLE")),
        pusher=ConnectionPusher(clients.connections(settings.text("CONNECTIONS_ENDPOINT"))),
        clock=now_ms,
        new_gid=lambda: secrets.token_urlsafe(12),
    )
    return Router(
        "group",
        {
            "create": operation(requests.GroupCreate, groups.create),
            "invite": operation(requests.GroupUsers, groups.invite),
            "remove": operation(requests.GroupUsers, groups.remove),
            "join": operation(requests.GroupJoin, groups.join),
            "leave": operation(requests.GroupName, groups.leave),
            "requests": operation(requests.GroupPage, groups.pending_requests),
            "decide": operation(requests.GroupDecide, groups.decide),
            "role": operation(requests.GroupRole, groups.role),
            "transfer": operation(requests.GroupUser, groups.transfer),
            "mute": operation(requests.GroupMute, groups.mute),
            "update": operation(requests.GroupUpdate, groups.update),
            "dissolve": operation(requests.GroupName, groups.dissolve),
            "info": operation(requests.GroupName, groups.info),
            "members": operation(requests.GroupPage, groups.members),
            "mine": operation(requests.GroupsPage, groups.mine),
        },
    )


def _group_limits(settings: Settings) -> GroupLimits:
    return GroupLimits(
        members=settings.number("MAX_GROUP_MEMBERS"),
        groups=settings.number("MAX_GROUPS_PER_USER"),
        admins=settings.number("MAX_GROUP_ADMINS"),
        name=settings.number("MAX_GROUP_NAME"),
        at_once=settings.number("MAX_USERS_AT_ONCE"),
        large_above=settings.number("LARGE_GROUP_ABOVE"),
    )


def fan_out(settings: Settings) -> tuple[FanOut, Aside]:
    """For the fan-out queue."""
    dynamodb, sqs = clients.dynamodb(), clients.sqs()
    queue = FanoutQueue(sqs, settings.text("FANOUT_QUEUE_URL"))
    parts = SqsPartQueue(sqs, settings.text("BROADCAST_QUEUE_URL"))
    threads = ThreadPoolExecutor(clients.POOL, thread_name_prefix="fan-out")
    served = _fan_out(settings, dynamodb, queue, _broadcast(settings, dynamodb, parts, threads))
    return served, Aside(Retries(sqs, queue.url), _dead_letters(settings, sqs, "fanout"))


def express(settings: Settings) -> Express:
    """For the queues of what overtakes. Nobody is always the first who is pushed to, and nobody can foresee who is."""
    dynamodb, sqs = clients.dynamodb(), clients.sqs()
    queue = FanoutQueue(sqs, settings.text("EXPRESS_QUEUE_URL"))
    parts = SqsPartQueue(sqs, settings.text("EXPRESS_PARTS_QUEUE_URL"))
    threads = ThreadPoolExecutor(clients.POOL, thread_name_prefix="express")
    pushes = _broadcast(settings, dynamodb, parts, threads, mix=shuffle)
    return Express(
        fan_out=_fan_out(settings, dynamodb, queue, pushes),
        entries=Aside(Retries(sqs, queue.url), _dead_letters(settings, sqs, "express")),
        broadcast=pushes,
        parts=Aside(Retries(sqs, parts.url), _dead_letters(settings, sqs, "express_parts")),
        parts_queue=queue_name(parts.url),
    )


def _fan_out(settings: Settings, dynamodb: Any, queue: FanoutQueue, pushes: Broadcast) -> FanOut:
    table, threads = settings.text("CONVERSATION_TABLE"), pushes.threads
    inbox = InboxStore(dynamodb, settings.text("INBOX_TABLE"))
    rows = RowWriter(inbox, queue, now_ms, threads)
    large = LargeFanOut(
        groups=GroupStore(dynamodb, table),
        history=ConversationStore(dynamodb, table),
        members=pushes.members,
        inbox=inbox,
        group_rows=GroupRowStore(dynamodb, settings.text("INBOX_TABLE")),
        connections=pushes.pusher.connections,
        audience=pushes.audience,
        rows=rows,
        pusher=pushes.pusher,
        broadcast=pushes,
        clock=now_ms,
        threads=threads,
    )
    checks = _checks(settings, queue.client)
    return FanOut(members=pushes.members, rows=rows, pusher=pushes.pusher, large=large, checks=checks)


def auditor(settings: Settings) -> Auditor:
    """For the stream of the Conversation table."""
    urls = settings.text("FANOUT_QUEUE_URL"), settings.text("EXPRESS_QUEUE_URL")
    return Auditor(FanoutQueue(clients.sqs(), *urls))


def redelivery(settings: Settings) -> tuple[Redelivery, Aside]:
    """For the queue of checks. One that cannot be made is not worth keeping: clients find out by themselves."""
    dynamodb, sqs, table = clients.dynamodb(), clients.sqs(), settings.text("CONVERSATION_TABLE")
    threads = ThreadPoolExecutor(clients.POOL, thread_name_prefix="redelivery")
    served = Redelivery(
        log=ConversationStore(dynamodb, table),
        members=MemberLists(GroupStore(dynamodb, table), ConversationStore(dynamodb, table)),
        inbox=InboxStore(dynamodb, settings.text("INBOX_TABLE")),
        pusher=_entry_pusher(settings, dynamodb, threads),
        checks=_checks(settings, sqs),
    )
    return served, Aside(Retries(sqs, settings.text("REDELIVERY_QUEUE_URL")), None)


def _checks(settings: Settings, sqs: Any) -> Checks:
    queue = SqsCheckQueue(sqs, settings.text("REDELIVERY_QUEUE_URL"))
    return Checks(queue, settings.number("REDELIVER_AFTER_SECONDS"), now_ms)


def _dead_letters(settings: Settings, sqs: Any, source: Source) -> DeadLetters:
    return DeadLetters(sqs, settings.text("DEAD_LETTER_QUEUE_URL"), source)


def _entry_pusher(settings: Settings, dynamodb: Any, threads: ThreadPoolExecutor, mix: Mix = as_found) -> EntryPusher:
    return EntryPusher(
        log=ConversationStore(dynamodb, settings.text("CONVERSATION_TABLE")),
        connections=ConnectionStore(dynamodb, settings.text("CONNECTION_TABLE")),
        pusher=ConnectionPusher(clients.connections(settings.text("CONNECTIONS_ENDPOINT"))),
        clock=now_ms,
        threads=threads,
        mix=mix,
    )


def broadcast(settings: Settings) -> tuple[Broadcast, Aside]:
    """For the queue of the parts of pushes to large groups."""
    sqs = clients.sqs()
    parts = SqsPartQueue(sqs, settings.text("BROADCAST_QUEUE_URL"))
    threads = ThreadPoolExecutor(clients.POOL, thread_name_prefix="broadcast")
    served = _broadcast(settings, clients.dynamodb(), parts, threads)
    return served, Aside(Retries(sqs, parts.url), _dead_letters(settings, sqs, "broadcast"))


def _broadcast(
    settings: Settings, dynamodb: Any, parts: SqsPartQueue, threads: ThreadPoolExecutor, mix: Mix = as_found
) -> Broadcast:
    table = settings.text("CONVERSATION_TABLE")
    return Broadcast(
        log=ConversationStore(dynamodb, table),
        members=MemberLists(GroupStore(dynamodb, table), ConversationStore(dynamodb, table)),
        audience=AudienceStore(dynamodb, settings.text("AUDIENCE_TABLE")),
        parts=parts,
        pusher=_entry_pusher(settings, dynamodb, threads, mix),
        clock=now_ms,
        threads=threads,
    )
