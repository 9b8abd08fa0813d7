"""The client for programs: a session with a store, messages as a person sees them, and events.

    async with Client(url, token, device="pc", store=SqliteStore("alice.db")) as client:
        client.on(MessageCame, lambda event: print(event.message.text))
        await client.send("bob", "hello")

Everything is called on the event loop on which the client was started, from its thread. docs/clients.md says what is
guaranteed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeAlias

import jwt

from imclient.core.outputs import (
    Arrived,
    Change,
    DeletedChanged,
    Dial,
    Noted,
    OutgoingChanged,
    Pushed,
    RowChanged,
    Settled,
    Source,
    State,
    StateChanged,
)
from imclient.core.outputs import Event as SessionEvent
from imclient.core.settings import Settings
from imclient.errors import ConnectionLostError, ImClientError, ReplyError, UnreachableError, UpgradeRefusedError
from imclient.events import (
    QUEUE,
    ConnectionChanged,
    ConversationChanged,
    DeliveredToPeer,
    Dispatcher,
    E,
    EventStream,
    HistoryChanged,
    JoinRequested,
    Kicked,
    MessageCame,
    MessageChanged,
    MessageDiscarded,
    MessageFailed,
    MessageQueued,
    MessageSent,
    OtherPush,
    PrivacyChanged,
    ReadByPeer,
    RedPacketChanged,
    StoreFailed,
    Typing,
)
from imclient.frames import Entry, JsonObject
from imclient.ids import ConvId, UserId, direct_conversation, is_device_id, is_user_id, peer_in
from imclient.operations import Groups, RedPackets, Sync, bound
from imclient.session import Session
from imclient.socket import Socket
from imclient.store import MemoryStore, Store, StoreError
from imclient.timeline import Message, Quote, is_change, ranges_of, target_of, timeline
from imclient.transcript import Transcript

log = logging.getLogger("imclient")

TYPING_SECONDS = 6.0
HANDLER_PATIENCE_SECONDS = 5.0
PAGE = 100


class TokenProvider(Protocol):
    """Gives the token to connect with. `fresh`: the server has refused the last one, so do not give it again.

    It may be a coroutine function; another one is called in a thread, and may block there. What it raises counts as
    "no network now": the client tries again later.
    """

    def __call__(self, *, fresh: bool) -> str | Awaitable[str]:
        """The token."""
        ...


Token: TypeAlias = str | TokenProvider


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the conversation list. `peer` is the other one of a direct conversation; `last` its newest message or
    notice in one line; `left` whether the user has left the group; `row` all of it, as the protocol has it."""

    conv: ConvId
    peer: UserId | None
    last: Quote | None
    last_seq: int
    unread: int
    read_seq: int
    mentioned: bool
    pinned: bool
    muted: bool
    hidden: bool
    draft: str
    at: int
    left: bool
    row: JsonObject = field(repr=False, compare=False)

    @classmethod
    def of(cls, row: JsonObject, user: UserId) -> Self:
        """Read a row."""
        conv, last = ConvId(row["conv"]), row.get("last")
        return cls(
            conv=conv,
            peer=peer_in(conv, user),
            last=_glimpse(last) if isinstance(last, dict) else None,
            last_seq=row["last_seq"],
            unread=row.get("unread") or 0,
            read_seq=row.get("read_seq") or 0,
            mentioned=(row.get("mention_seq") or 0) > (row.get("read_seq") or 0),
            pinned=bool(row.get("pinned")),
            muted=bool(row.get("muted")),
            hidden=bool(row.get("hidden")),
            draft=row.get("draft") or "",
            at=row.get("at") or 0,
            left="left_seq" in row,
            row=row,
        )


class Outgoing:
    """A message on its way. `message` is what to show meanwhile; awaited, it gives the message as the server has it.

    `state`: `queued`, `sending`, `sent`, `failed` (see `error`) or `discarded`. Waiting raises what it has failed with;
    ConnectionLostError or UpgradeRefusedError when the client ends before: then it is kept, and goes out when a client
    is started on the same store.
    """

    def __init__(self, client: Client, item: JsonObject) -> None:
        self._client = client
        self._waiters: list[asyncio.Future[Message]] = []
        self.cmid: str = item["cmid"]
        self.conv = ConvId(item["conv"])
        self.state = "queued"
        self.error: ImClientError | None = None
        self.message = _echo(item, client.user)
        self._becomes(item, None)

    def retry(self) -> None:
        """Send it again after it has failed, under the same `cmid`."""
        self._client.session.retry(self.cmid)

    def discard(self) -> None:
        """Do not send it. Nothing happens to one that is being sent or is sent."""
        self._client.session.discard(self.cmid)

    def __await__(self) -> Generator[Any, None, Message]:
        """Wait until the server has it."""
        return self._sent().__await__()

    def __repr__(self) -> str:
        """Without what it says."""
        return f"Outgoing(cmid={self.cmid!r}, conv={self.conv!r}, state={self.state!r})"

    async def _sent(self) -> Message:
        ended = self._client.ended
        if self.state == "sent":
            return self.message
        if self.state in {"failed", "discarded"}:
            raise self.error or ConnectionLostError()
        if ended is not None:
            raise ended
        waiter: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def _becomes(self, item: JsonObject, error: ImClientError | None) -> None:
        self.state, self.error = item["state"], error
        if self.state == "failed" and error is None:  # kept from before
            wait = item.get("retry_after_ms")
            self.error = ReplyError(str(item.get("code")), "", retryable=False, retry_after_ms=wait)
        elif self.state == "discarded":
            self.error = DiscardedError(self.cmid)

    def _settle(self, error: ImClientError | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(self.message)
            else:
                waiter.set_exception(error)


class DiscardedError(ImClientError):
    """The message was discarded before it was sent."""

    def __init__(self, cmid: str) -> None:
        self.cmid = cmid
        super().__init__(f"the message {cmid} was discarded")


class Client:
    """One user on one device. `start` it, or use it with `async with`.

    - `url`: the WebSocket, without the protocol's query. `token`: a token, or what provides one (see TokenProvider).
    - `device`: this device's own id, stable over restarts. `store`: where it keeps things; it belongs to this client
      from then on, which closes it. Without one, all is forgotten at the end.
    - `user`: who this is. Without it, the store or the token says so; only the latter needs the provider at the start.
    - `follow`: every conversation is followed: of all that comes while the client is away, up to 300 entries each are
      fetched and told. Otherwise only of those that were read or that something was pushed of.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        device: str,
        platform: str = "desktop",
        store: Store | None = None,
        user: str | None = None,
        follow: bool = True,
        settings: Settings | None = None,
    ) -> None:
        if not is_device_id(device):
            raise ValueError(f"not a device id: {device!r}; 1 to 64 of A-Z a-z 0-9 _ . -")
        if user is not None and not is_user_id(user):
            raise ValueError(f"not a user id: {user!r}; 1 to 64 of A-Z a-z 0-9 _ -")
        self.device, self.platform, self.store = device, platform, store or MemoryStore()
        self.groups: Groups = bound(Groups, "group", self._call_group)
        self.redpackets: RedPackets = bound(RedPackets, "redpacket", self._call_and_expect)
        self.sync: Sync = bound(Sync, "sync", self.call)
        self._url, self._token, self._follow = url, token, follow
        self._settings = replace(settings or Settings(), stores=True)
        self._user = UserId(user) if user is not None else None
        self._session: Session | None = None
        self._closed = False
        self._events = Dispatcher()
        self._outgoing: dict[str, Outgoing] = {}
        self._told: dict[ConvId, int] = {}
        self._first_sync = True
        self._unsaved: list[Change] = []
        self._typing: dict[tuple[ConvId, UserId], asyncio.TimerHandle] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._dial_error: ImClientError | None = None
        self._first_token: str | None = None

    # ---- beginning and end

    @property
    def session(self) -> Session:
        """What is below. Raises RuntimeError before `start`."""
        if self._session is None:
            raise RuntimeError("the client is not started")
        return self._session

    @property
    def user(self) -> UserId:
        """Who this is. Raises RuntimeError before `start`, unless it was given."""
        if self._user is None:
            raise RuntimeError("the client is not started")
        return self._user

    @property
    def state(self) -> State:
        """How it is connected."""
        return State.ENDED if self._session is None else self._session.state

    @property
    def ended(self) -> ImClientError | None:
        """Why it stays away: kicked, refused, closed. None while it is connected or tries to be."""
        return ConnectionLostError() if self._closed else self.session.machine.ended

    async def start(self) -> Self:
        """Show what is stored, and connect as soon as that is possible. Does not wait for the network.

        Raises StoreError for a store that is of somebody else or cannot be read; what the token provider raises, when
        nobody else says who this is.
        """
        if self._session is not None:
            raise RuntimeError("a client is started once")
        self._user = await self._who()
        kept = self.store.load()
        self._first_sync = kept.inbox is None
        self._told = {ConvId(conv): log["watermark"] for conv, log in kept.logs.items()}
        self._events.start()
        self._session = Session(
            self._dial, self._user, settings=self._settings, kept=kept, save=self._save, on_event=self._happened
        )
        self._save((Change("meta", "owner", {"user": self._user, "device": self.device}),))
        for item in kept.outbox:
            self._outgoing[item["cmid"]] = Outgoing(self, item)
        self._session.begin()
        return self

    async def connected(self) -> None:
        """Wait until it is connected and the conversation list is up to date. Raises what ends it before that."""
        await self.session.catch_up()

    async def close(self) -> None:
        """Tell the server what is still to be told, disconnect, and close the store. What is not sent stays there."""
        if self._closed:
            return
        self._closed = True
        if self._session is not None:
            await self._session.close()
        for timer in self._typing.values():
            timer.cancel()
        await self._events.close(HANDLER_PATIENCE_SECONDS)
        self._save(())
        self.store.close()

    async def logout(self, devices: str = "this") -> None:
        """End this session on the server, or those of `all` devices of the user; then Kicked comes."""
        await self.call("connect", "logout", {"devices": devices})

    async def __aenter__(self) -> Self:
        """Start it."""
        try:
            return await self.start()
        except BaseException:
            self.store.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    def network(self, *, online: bool) -> None:
        """Say that the machine's network has come or gone."""
        self.session.network(online=online)

    def resumed(self) -> None:
        """Say that a person looks again, or that the machine has slept."""
        self.session.resumed()

    # ---- events

    def on(self, kind: type[E], handler: Callable[[E], object]) -> Callable[[], None]:
        """Let `handler` be called with every event of the type `kind`; what is returned ends that. Also before `start`.

        A function is called at once and must not block; a coroutine function with one event after the other. One that
        raises is logged, and stops nobody.
        """
        return self._events.on(kind, handler)

    def events(self, limit: int = QUEUE) -> EventStream:
        """An iterator of all events from now on. `limit` of them wait for its reader; then see EventsMissed."""
        return self._events.stream(limit)

    # ---- messages

    def send(
        self,
        to: str,
        text: str | None = None,
        *,
        kind: str = "text",
        body: JsonObject | None = None,
        mentions: Sequence[str] | None = None,
        reply_to: int | None = None,
        cmid: str | None = None,
    ) -> Outgoing:
        """Send a message to a conversation or a user, now or when there is a connection. It is kept when this returns.

        What is returned can be shown at once, and awaited. The messages of a conversation go out one after the other.
        """
        if self._closed:
            raise ConnectionLostError
        said = body if body is not None else {"text": text or ""}
        cmid = cmid or str(uuid.uuid4())
        more: JsonObject = {"kind": kind, "mentions": None if mentions is None else list(mentions)}
        self.session.post(self.conversation_with(to), said, cmid=cmid, reply_to=reply_to, **more)
        return self._outgoing[cmid]

    def outgoing(self, conv: str | None = None) -> list[Outgoing]:
        """What is not sent yet, of one conversation or of all, in the order in which it was said."""
        mine = (self._outgoing[cmid] for cmid in self.session.machine.outbox.items if cmid in self._outgoing)
        return [item for item in mine if conv in {None, item.conv}]

    async def edit(self, conv: str, seq: int, text: str | None = None, *, body: JsonObject | None = None) -> int:
        """Replace what an own message says; the seq of the change."""
        return await self.session.edit(ConvId(conv), seq, body if body is not None else {"text": text or ""})

    async def recall(self, conv: str, seq: int) -> int:
        """Take a message back; the seq of the change."""
        return await self.session.recall(ConvId(conv), seq)

    async def react(self, conv: str, seq: int, emoji: str, *, on: bool = True) -> int:
        """Put a reaction on a message, or take it off; the seq of the change."""
        return await self.session.react(ConvId(conv), seq, emoji, on=on)

    async def pin(self, conv: str, seq: int, *, on: bool = True) -> int:
        """Pin a message for everybody, or take it down; the seq of the change."""
        return await self.session.pin(ConvId(conv), seq, on=on)

    async def forward(
        self, to: str, source: str, seqs: Sequence[int], *, title: str | None = None, cmid: str | None = None
    ) -> int:
        """Forward messages of the conversation `source`: one as a copy, several as one; the seq in the other one."""
        data: JsonObject = {"cmid": cmid or str(uuid.uuid4()), "source": source, "seqs": list(seqs)}
        data |= {} if title is None else {"title": title}
        peer = peer_in(self.conversation_with(to), self.user)
        where = {"conv": to} if peer is None else {"to": peer}
        return int((await self._call_and_expect("message", "forward", where | data))["seq"])

    async def delete(self, conv: str, seqs: Sequence[int] | None = None, *, up_to: int | None = None) -> None:
        """Hide messages from this user alone, on all of their devices."""
        await self.session.delete(ConvId(conv), seqs=None if seqs is None else list(seqs), up_to=up_to)

    async def messages(self, conv: str, before: int | None = None, limit: int = 50) -> list[Message]:
        """The newest messages and notices below the seq `before`, oldest first: what is stored, then the server's.

        Fewer than `limit` at the beginning of the conversation, and where the server cannot be asked.
        Raises ReplyError where this user is not in the conversation.
        """
        name = ConvId(conv)
        await self._open(name)
        while True:
            found = self._stored(name, before, limit)
            if len(found) >= limit or not await self._fetch_older(name):
                return found

    def message(self, conv: str, seq: int) -> Message | None:
        """A message as it is now, if it is here."""
        return next(iter(self._as_now(ConvId(conv), self.store.at(conv, [seq]))), None)

    def since(self, conv: str, seq: int) -> list[Message]:
        """The messages and notices that are here from `seq` on, oldest first."""
        found: list[Entry] = []
        before: int | None = None
        while page := self.store.entries(conv, before, PAGE, changes=False):
            found += [entry for entry in page if entry.seq >= seq]
            if page[-1].seq < seq:
                break
            before = page[-1].seq
        return self._as_now(ConvId(conv), found)

    def mark_read(self, conv: str, seq: int | None = None) -> None:
        """The user has read up to `seq`, or all that is known; the server is told within a second, or when it can."""
        name = ConvId(conv)
        row, transcript = self.session.rows.get(name), self.session.transcripts.get(name)
        known = max(row["last_seq"] if row else 0, transcript.watermark if transcript else 0)
        if (seq or known) > 0:
            self.session.mark_read(name, seq or known)

    async def typing(self, conv: str, *, on: bool = True) -> None:
        """Tell the others that the user writes, or has stopped. Does nothing without a connection."""
        if self.state is State.ONLINE:
            try:
                await self.call("message", "typing", {"conv": conv, "on": on})
            except ReplyError as error:
                if error.code != "rate_limited":
                    raise

    # ---- conversations

    def conversation_with(self, to: str) -> ConvId:
        """The conversation that is meant: its own id, or that of a user. Raises ValueError for what is neither."""
        if to.startswith(("d:", "g:")):
            return ConvId(to)
        if not is_user_id(to):
            raise ValueError(f"neither a conversation nor a user: {to!r}")
        return direct_conversation(self.user, UserId(to))

    def conversations(self, *, hidden: bool = False) -> list[Conversation]:
        """The conversation list: pinned ones first, then those with the newest message. With `hidden` ones if asked."""
        rows = [Conversation.of(row, self.user) for row in self.session.rows.values()]
        shown = [row for row in rows if hidden or not row.hidden]
        return sorted(shown, key=lambda row: (not row.pinned, -row.at, row.conv))

    def conversation(self, conv: str) -> Conversation | None:
        """A row of the list, if it is there."""
        row = self.session.rows.get(ConvId(conv))
        return None if row is None else Conversation.of(row, self.user)

    @property
    def total_unread(self) -> int:
        """Unread messages of all conversations."""
        return sum(row.get("unread") or 0 for row in self.session.rows.values())

    async def set_conversation(
        self,
        conv: str,
        *,
        muted: bool | None = None,
        pinned: bool | None = None,
        draft: str | None = None,
        hidden: bool | None = None,
    ) -> Conversation:
        """Set what is given of a conversation, on all of the user's devices."""
        given = {"muted": muted, "pinned": pinned, "draft": draft, "hidden": hidden}
        row = await self.session.set_row(ConvId(conv), **{n: value for n, value in given.items() if value is not None})
        return self.conversation(conv) or Conversation.of(row, self.user)

    # ---- requests

    async def call(self, route: str, op: str, data: JsonObject) -> JsonObject:
        """Make any request. Raises ReplyError, NoReplyError, FrameTooLargeError, and what has ended the client."""
        return await self.session.call(route, op, data)

    async def _call_group(self, route: str, op: str, data: JsonObject) -> JsonObject:
        reply = await self.call(route, op, data)
        if op not in {"info", "mine", "members", "requests"}:
            self.session.news()  # whoever changes a group is not pushed the entry
        return reply

    async def _call_and_expect(self, route: str, op: str, data: JsonObject) -> JsonObject:
        reply = await self.call(route, op, data)
        match op, reply:
            case "create" | "forward", {"conv": str(conv), "seq": int(seq)}:
                self.session.expect(ConvId(conv), seq)  # whoever sends is not pushed the entry
        return reply

    # ---- connecting

    async def _who(self) -> UserId:
        owner = self.store.meta("owner")
        if owner is not None:
            if self._user not in {None, owner["user"]} or owner["device"] != self.device:
                raise StoreError(f"this store is of {owner['user']} on {owner['device']}")
            return UserId(owner["user"])
        if self._user is None:
            self._first_token = await self._provided(fresh=False)
            return self._user_of(self._first_token) or self._unknown_user()
        return self._user

    @staticmethod
    def _unknown_user() -> UserId:
        raise ValueError("the token does not say who this is: give `user`")

    async def _provided(self, *, fresh: bool) -> str:
        if isinstance(self._token, str):
            return self._token
        if inspect.iscoroutinefunction(self._token) or inspect.iscoroutinefunction(type(self._token).__call__):
            return str(await self._token(fresh=fresh))  # type: ignore[misc]
        given = await asyncio.to_thread(self._token, fresh=fresh)
        return given if isinstance(given, str) else await given

    @staticmethod
    def _user_of(token: str) -> UserId | None:
        try:
            subject = jwt.decode(token, options={"verify_signature": False}).get("sub")
        except jwt.InvalidTokenError:
            return None
        return UserId(subject) if isinstance(subject, str) and is_user_id(subject) else None

    async def _dial(self, wanted: Dial) -> Socket:
        try:
            token, self._first_token = None if wanted.fresh else self._first_token, None
            token = token or await self._token_for_dial(fresh=wanted.fresh)
            return await Socket.open(self._url, token=token, device=self.device, platform=self.platform)
        except (UnreachableError, UpgradeRefusedError) as error:
            self._dial_error = error
            raise

    async def _token_for_dial(self, *, fresh: bool) -> str:
        try:
            token = await self._provided(fresh=fresh)
        except Exception as error:
            log.warning("the token provider has failed: %r", error)
            raise UnreachableError(f"there is no token: {error!r}") from error
        if self._user_of(token) not in {None, self._user}:
            log.error("the token provider gave a token of another user than %s", self._user)
            raise UnreachableError(f"the token is not one of {self._user}")
        return token

    # ---- what is kept

    def _save(self, changes: tuple[Change, ...]) -> None:
        """Keep changes. What could not be kept is kept with the next ones, in its order."""
        self._unsaved += changes
        if self._first_sync and any(change.table == "meta" and change.key == "inbox" for change in changes):
            asyncio.get_running_loop().call_soon(self._synced)  # after the rows that come with it were told
        if not self._unsaved:
            return
        try:
            self.store.apply(self._unsaved)
        except StoreError as error:
            log.error("cannot keep %d changes: %s", len(self._unsaved), error)  # noqa: TRY400 - the error says it
            self._events.tell(StoreFailed(error))
        else:
            self._unsaved = []

    def _synced(self) -> None:
        """The list was read for the first time: what was in it is history, what comes into it is new."""
        self._first_sync = False

    async def _open(self, conv: ConvId) -> None:
        """Know how far a conversation goes, so that its history can be loaded downwards from there."""
        if conv in self.session.transcripts:
            return
        row = self.session.rows.get(conv)
        if row is not None:
            last_seq = row["last_seq"]
        elif self.state is not State.ONLINE:
            return
        else:
            try:
                page = await self.call("sync", "entries", {"conv": conv, "after": 0, "limit": 1})
            except ReplyError as error:
                if error.code in {"not_found", "not_member"} and peer_in(conv, self.user) is not None:
                    return  # two people who have not written to each other yet
                raise
            last_seq = page.get("last_seq", 0)
        self.session.expect(conv, last_seq)
        transcript = self.session.transcripts[conv]
        self._told.setdefault(conv, transcript.watermark)

    def _stored(self, conv: ConvId, before: int | None, limit: int) -> list[Message]:
        found: list[Message] = []
        while len(found) < limit:
            page = self.store.entries(conv, before, limit, changes=False)
            found = [*self._as_now(conv, page), *found]
            if len(page) < limit:
                break
            before = page[-1].seq
        return found[-limit:]

    async def _fetch_older(self, conv: ConvId) -> bool:
        """Fetch a page of history; whether there was any."""
        transcript = self.session.transcripts.get(conv)
        if transcript is None or transcript.floor == 0 or self.state is not State.ONLINE:
            return False
        before = (transcript.era, transcript.floor)
        loaded, lost = asyncio.ensure_future(self.session.older(conv)), asyncio.get_running_loop().create_future()
        self._waiting.add(lost)
        try:
            await asyncio.wait({loaded, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(lost)
            loaded.cancel()
            await asyncio.gather(loaded, return_exceptions=True)
        return (transcript.era, transcript.floor) != before

    def _as_now(self, conv: ConvId, entries: Iterable[Entry]) -> list[Message]:
        """Messages and notices of one conversation as they are now, ascending."""
        wanted = {entry.seq: entry for entry in entries}
        answered = {entry.reply_to for entry in wanted.values() if entry.reply_to is not None} - wanted.keys()
        around = self.store.at(conv, answered) if answered else []
        changes = self.store.changes(conv, [*wanted, *answered])
        transcript = self._session.transcripts.get(conv) if self._session is not None else None
        found = timeline(
            [*wanted.values(), *around, *changes],
            deleted=self._deleted(conv),
            whole=None if transcript is None else transcript.watermark,
        )
        return [message for message in found if message.seq in wanted]

    def _deleted(self, conv: ConvId) -> list[tuple[int, int]]:
        return ranges_of(self.session.machine.deletions.of.get(conv))

    # ---- what the session tells

    def _happened(self, event: SessionEvent) -> None:
        match event:
            case Arrived(entry, source, new):
                if new and source is not Source.OLDER:
                    self._tell_whole(entry.conv)
            case Settled(conv, restarted):
                self._settled(conv, restarted)
            case RowChanged(row):
                self._row_changed(row)
            case DeletedChanged(conv):
                self._events.tell(HistoryChanged(conv))
            case OutgoingChanged(item, error):
                self._outgoing_changed(item, error)
            case StateChanged(state, why, error):
                self._state_changed(state, why, error)
            case Pushed(name, data):
                self._pushed(name, data)
            case Noted(text):
                log.debug("%s", text)

    def _settled(self, conv: ConvId, restarted: int | None) -> None:
        if restarted is not None:
            self._told[conv] = max(restarted, self._told.get(conv, 0))
            self._events.tell(HistoryChanged(conv))
        if conv in self._told:
            self._tell_whole(conv)

    def _tell_whole(self, conv: ConvId) -> None:
        """Tell what is whole by now and was not told yet, in order of seq: behind a hole nothing is told."""
        transcript = self.session.transcripts[conv]
        told = self._told.setdefault(conv, transcript.floor)
        if transcript.watermark <= told:
            return
        self._told[conv] = transcript.watermark
        for entry in self._between(transcript, told, transcript.watermark):
            self._tell_entry(entry)

    def _between(self, transcript: Transcript, above: int, up_to: int) -> list[Entry]:
        """The entries of a stretch, ascending: those of this process are in memory, others in the store."""
        if up_to == above + 1 and transcript.holds(up_to):
            return [transcript[up_to]]
        held = {entry.seq: entry for entry in transcript.entries() if above < entry.seq <= up_to}
        before: int | None = up_to + 1
        while before is not None and (page := self.store.entries(transcript.conv, before, PAGE)):
            for entry in page:
                if entry.seq > above:
                    held.setdefault(entry.seq, entry)
            before = page[-1].seq if page[-1].seq > above else None
        return [held[seq] for seq in sorted(held)]

    def _tell_entry(self, entry: Entry) -> None:
        target = target_of(entry)
        if target is not None:
            message = self.message(entry.conv, target)
            if message is not None and message.countable:
                self._events.tell(MessageChanged(message, entry.kind, entry.sender, entry.seq))
        elif entry.kind != "void" and not is_change(entry.kind):
            if self._typing.get((entry.conv, entry.sender)) is not None and entry.countable:
                self._typing_ends(entry.conv, entry.sender)
            message = next(iter(self._as_now(entry.conv, [entry])), None)
            if message is not None:
                self._events.tell(MessageCame(message, own=entry.sender == self.user))
            if entry.kind == "members" and self.user in (entry.body.get("added") or ()):
                self._events.tell(HistoryChanged(entry.conv))  # what was closed may be open now

    def _row_changed(self, row: JsonObject) -> None:
        conv = ConvId(row["conv"])
        if self._follow and conv not in self.session.transcripts and "left_seq" not in row:
            if not self._first_sync:  # new since the last time: from its beginning
                self.session.transcript(conv, 1)
            self.session.expect(conv, row["last_seq"])
            self._told.setdefault(conv, self.session.transcripts[conv].floor)
        self._events.tell(ConversationChanged(Conversation.of(row, self.user)))

    def _outgoing_changed(self, item: JsonObject, error: ImClientError | None) -> None:
        cmid = item["cmid"]
        known = self._outgoing.get(cmid)
        if known is None:
            known = self._outgoing[cmid] = Outgoing(self, item)
        known._becomes(item, error)
        match known.state:
            case "queued":
                self._events.tell(MessageQueued(known))
            case "sent":
                known.message = self._as_sent(known, item)
                self._outgoing.pop(cmid, None)
                known._settle(None)
                self._events.tell(MessageSent(known, known.message))
            case "failed":
                known._settle(known.error)
                self._events.tell(MessageFailed(known, known.error))
            case "discarded":
                self._outgoing.pop(cmid, None)
                known._settle(known.error)
                self._events.tell(MessageDiscarded(known))

    def _as_sent(self, outgoing: Outgoing, item: JsonObject) -> Message:
        kept = self.message(outgoing.conv, item["seq"])
        now = {name: item[name] for name in ("seq", "n", "ts") if item.get(name)}
        return kept or replace(outgoing.message, **now)

    def _state_changed(self, state: State, why: str, error: ImClientError | None) -> None:
        if state is State.WAITING and error is None:
            error = self._dial_error
        if state is State.ONLINE:
            self._dial_error = None
        if state is State.ENDED:
            for outgoing in list(self._outgoing.values()):
                outgoing._settle(error or ConnectionLostError())
            if isinstance(error, ConnectionLostError) and error.kicked is not None:
                self._events.tell(Kicked(error.kicked))
        self._events.tell(ConnectionChanged(state, why, error))
        for waiting in [] if state is State.ONLINE else list(self._waiting):
            if not waiting.done():
                waiting.set_result(None)

    def _pushed(self, name: str, data: JsonObject) -> None:
        match name, data:
            case "typing", {"conv": str(conv), "user": str(user), **rest}:
                self._types(ConvId(conv), UserId(user), on=rest.get("on") is not False)
            case (("read" | "delivered"), {"conv": str(conv), "user": str(user), "seq": int(seq)}):
                if user != self.user:
                    kind = ReadByPeer if name == "read" else DeliveredToPeer
                    self._events.tell(kind(ConvId(conv), UserId(user), seq))
            case "redpacket", {"packet": str(packet), "conv": str(conv), "seq": int(seq), "event": str(what)}:
                self._events.tell(RedPacketChanged(packet, ConvId(conv), seq, what, data))
            case "request", {"conv": str(conv), "user": str(user), "state": str(state), **rest}:
                note = rest.get("note")
                asked = JoinRequested(ConvId(conv), UserId(user), state, note if isinstance(note, str) else "")
                self._events.tell(asked)
            case "privacy", {"receipts": bool(receipts), "presence": bool(presence)}:
                self._events.tell(PrivacyChanged(receipts, presence))
            case "kicked" | "inbox", _:
                pass  # what it comes to is told otherwise
            case _:
                self._events.tell(OtherPush(name, data))

    def _types(self, conv: ConvId, user: UserId, *, on: bool) -> None:
        known = self._typing.pop((conv, user), None)
        if known is not None:
            known.cancel()
        if on:
            loop = asyncio.get_running_loop()
            self._typing[conv, user] = loop.call_later(TYPING_SECONDS, self._typing_ends, conv, user)
        if on or known is not None:
            self._events.tell(Typing(conv, user, on))

    def _typing_ends(self, conv: ConvId, user: UserId) -> None:
        self._types(conv, user, on=False)


def _echo(item: JsonObject, user: UserId) -> Message:
    """A message that is to be sent, as it is shown until then."""
    return Message(
        conv=ConvId(item["conv"]),
        seq=0,
        n=0,
        kind=item["kind"],
        sender=user,
        ts=item.get("ts") or int(time.time() * 1000),
        body=item["body"],
        cmid=item["cmid"],
        mentions=tuple(item.get("mentions") or ()),
        reply_to=item.get("reply_to"),
    )


def _glimpse(last: JsonObject) -> Quote:
    return Quote(
        seq=last.get("seq") or 0,
        kind=str(last.get("kind") or ""),
        sender=UserId(str(last.get("from") or "")),
        ts=last.get("ts") or 0,
        preview=str(last.get("preview") or ""),
        recalled=bool(last.get("recalled")),
        changed=last.get("changed") or 0,
    )
