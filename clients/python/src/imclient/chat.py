"""The line-based chat: what it prints and what each typed line does. The terminal itself is in `cli`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from imclient.core.outputs import Source
from imclient.core.settings import Settings
from imclient.errors import FrameTooLargeError, ImClientError, ReplyError
from imclient.frames import Entry, JsonObject
from imclient.ids import ConvId, UserId, direct_conversation, is_user_id, peer_in
from imclient.notices import clock, members_changed, profile_changed
from imclient.printable import printable
from imclient.session import Arrival, Dialer, Session

HISTORY_DEFAULT = 20
HISTORY_ON_OPEN = 10
HISTORY_MOST = 100
SHOWN_OF_TARGET = 40

HELP = """\
/list            conversations, newest first
/open WHICH      a number of /list, a user (or @user), or a conversation such as g:team
/history [N]     the last N entries, 20 without N, 100 at most
/quit            leave
Every other line is sent to the open conversation; begin with // to send a line that begins with /."""

Print: TypeAlias = Callable[[str], None]


class Chat:
    """One chat of one user. Make it inside a running event loop, and `run` it once.

    `write` prints one line. With `echoes` the user's own messages are printed too, for an input that no terminal shows.
    """

    def __init__(
        self, dial: Dialer, user: UserId, *, write: Print, echoes: bool = False, settings: Settings | None = None
    ) -> None:
        self.user = user
        self.not_sent = 0
        self._write = write
        self._echoes = echoes
        self._open: ConvId | None = None
        self._listed: list[ConvId] = []
        self._shown: dict[ConvId, int] = {}
        self._session = Session(
            dial,
            user,
            settings=settings,
            on_arrival=self._arrived,
            on_settled=self._show_whole,
            on_state=lambda line: write(f"-- {printable(line)}"),
        )

    async def run(self, lines: AsyncIterator[str], *, conv: ConvId | None = None, linger: float = 0) -> None:
        """Show what is unread, open `conv`, then do what the lines say until they end or one is `/quit`.

        `linger` is how many seconds to go on printing what comes after the lines have ended. Raises what
        `Session.start` raises, and ConnectionLostError or UpgradeRefusedError when the server ends the session.
        """
        await self._session.start()
        try:
            self._show_list(unread_only=True)
            if conv is not None:
                await self._try(self._open_conversation(conv))
            ended = asyncio.create_task(self._session.wait_ended())
            typed = asyncio.create_task(self._read(lines, linger))
            await asyncio.wait({ended, typed}, return_when=asyncio.FIRST_COMPLETED)
            for task in (ended, typed):
                if not task.done():
                    task.cancel()
            await asyncio.gather(ended, typed, return_exceptions=True)
            if not typed.cancelled() and (error := typed.exception()) is not None:
                raise error
            if self._session.failure is not None:
                raise self._session.failure
        finally:
            await self._session.close()

    def conversation_named(self, which: str) -> ConvId | None:
        """The conversation a person means: a number of the last list, a user, or the conversation's own id."""
        if which.isdecimal() and 1 <= int(which) <= len(self._listed):
            return self._listed[int(which) - 1]
        if which.startswith(("d:", "g:")):
            return ConvId(which)
        name = which.removeprefix("@")
        return direct_conversation(self.user, UserId(name)) if is_user_id(name) else None

    async def _read(self, lines: AsyncIterator[str], linger: float) -> None:
        async for line in lines:
            if line.strip() == "/quit":
                return
            await self._try(self._obey(line))
        await asyncio.sleep(linger)

    async def _try(self, work: Awaitable[None]) -> None:
        """Report what the server refused, and go on."""
        try:
            await work
        except (ReplyError, FrameTooLargeError) as error:
            self._write(f"! {printable(str(error))}")

    async def _obey(self, line: str) -> None:
        if line.startswith("/") and not line.startswith("//"):
            command, *words = line[1:].split()
            match command, words:
                case "list", []:
                    await self._session.catch_up()
                    self._show_list()
                case "open", [which]:
                    conv = self.conversation_named(which)
                    if conv is None:
                        self._write(f"! neither a number of /list, nor a user, nor a conversation: {printable(which)}")
                    else:
                        await self._open_conversation(conv)
                case "history", []:
                    await self._show_history(HISTORY_DEFAULT)
                case "history", [number] if number.isdecimal() and int(number) > 0:
                    await self._show_history(min(int(number), HISTORY_MOST))
                case _:
                    self._write(HELP)
        elif line.strip():
            await self._send(line[1:] if line.startswith("//") else line)

    async def _send(self, text: str) -> None:
        if self._open is None:
            self.not_sent += 1
            self._write("! no conversation is open: /open one first")
            return
        try:
            sent = await self._session.send(self._open, {"text": text})
        except ImClientError:
            self.not_sent += 1
            raise
        if not self._echoes:
            self._write(f"   ✓ {sent.entry.seq}")

    def _show_list(self, *, unread_only: bool = False) -> None:
        known = self._session.rows.values()
        rows = [row for row in known if (row.get("unread") if unread_only else not row.get("hidden"))]
        rows.sort(key=lambda row: (bool(row.get("pinned")), int(row.get("at") or 0)), reverse=True)
        self._listed = [ConvId(str(row["conv"])) for row in rows]
        if not rows:
            self._write("no unread messages" if unread_only else "no conversations yet")
        for number, row in enumerate(rows, start=1):
            self._write(f"{number:>3}  {self._row(row)}")

    def _row(self, row: JsonObject) -> str:
        name = self._name(ConvId(str(row["conv"]))) + (" (left)" if "left_seq" in row else "")
        unread = f"{row['unread']} unread" if row.get("unread") else ""
        preview = _glimpse(row["last"]) if row.get("last") else ""
        return printable(f"{name:<24} {unread:<12} {preview}").rstrip()

    def _name(self, conv: ConvId) -> str:
        return peer_in(conv, self.user) or conv

    async def _open_conversation(self, conv: ConvId) -> None:
        last_seq = await self._last_seq(conv)
        self._open = conv
        self._session.expect(conv, last_seq)
        self._write(f"== {printable(self._name(conv))} ==")
        if last_seq:
            await self._show_history(HISTORY_ON_OPEN)
            self._session.mark_read(conv, last_seq)

    async def _last_seq(self, conv: ConvId) -> int:
        """How far a conversation goes; 0 for two people who have not written to each other yet."""
        try:
            reply = await self._session.call("sync", "entries", {"conv": conv, "after": 0, "limit": 1})
        except ReplyError as error:
            if error.code in {"not_found", "not_member"} and peer_in(conv, self.user) is not None:
                return 0
            raise
        return int(reply.get("last_seq", 0))

    async def _show_history(self, number: int) -> None:
        if self._open is None:
            self._write("! no conversation is open: /open one first")
            return
        before = self._session.transcript(self._open).horizon + 1
        reply = await self._session.call("sync", "entries", {"conv": self._open, "before": before, "limit": number})
        entries = [Entry.from_wire(wire) for wire in reply.get("entries", [])]
        for entry in sorted(entries, key=lambda entry: entry.seq):
            if (line := described(entry, self._target_of(entry))) is not None:
                self._write(line)

    def _target_of(self, entry: Entry) -> Entry | None:
        """The message that a change is about, where this client has it."""
        transcript, target = self._session.transcript(entry.conv), entry.body.get("target")
        return transcript[target] if isinstance(target, int) and target in transcript else None

    def _arrived(self, arrival: Arrival) -> None:
        if not arrival.new:
            return
        conv, own = arrival.entry.conv, arrival.source is Source.REPLY
        self._show_whole(conv, read=not own)

    def _show_whole(self, conv: ConvId, *, read: bool = True) -> None:
        """Print what is whole up to here, and mark it as read: behind a hole nothing is shown until it is filled."""
        transcript = self._session.transcript(conv)
        shown = self._shown.get(conv, transcript.floor)
        for seq in range(shown + 1, transcript.watermark + 1):
            if seq in transcript:  # the others are closed to this user
                self._show(transcript[seq])
                self._shown[conv] = seq
        if read and conv == self._open and self._shown.get(conv, shown) > shown:
            self._session.mark_read(conv, self._shown[conv])

    def _show(self, entry: Entry) -> None:
        line = described(entry, self._target_of(entry))
        if line is None or (entry.sender == self.user and entry.countable and not self._echoes):
            return
        self._write(line if entry.conv == self._open else f"({printable(self._name(entry.conv))}) {line}")


def described(entry: Entry, target: Entry | None = None) -> str | None:
    """An entry as one line, safe to print; None for what a person need not see, and for kinds that are not known.

    `target` is the message that a change is about, if it is known.
    """
    body, sender = entry.body, entry.sender
    match entry.kind:
        case _ if entry.countable:
            said = _said(entry)
        case "edit":
            text = _text(body.get("body"))
            said = f"* {sender} edited a message" if text is None else f"* {sender} edited: {text}"
        case "recall":
            said = f"* {sender} recalled a message"
        case "reaction":
            which = _which(body.get("target"), target)
            said = f"* {sender} {'' if body.get('on') else 'no more '}{body.get('emoji')} {which}"
        case "pin":
            said = f"* {sender} {'pinned' if body.get('on') else 'unpinned'} {_which(body.get('target'), target)}"
        case "members":
            said = f"* {members_changed(entry)}"
        case "profile":
            said = f"* {profile_changed(entry)}"
        case _:
            return None
    return printable(f"{entry.seq:>5}  {clock(entry.ts)}  {said}")


def _said(entry: Entry) -> str:
    """A message as it is now: what it answers before it, what became of it behind it."""
    if entry.recalled_by is not None:
        return f"* {entry.recalled_by} recalled a message"
    before = f"[from {entry.forwarded_from}] " if entry.forwarded_from is not None else ""
    if entry.quoted:
        before += f"[re: {entry.quoted}] "
    match entry.kind:
        case "text":
            what = str(entry.body.get("text", ""))
        case "merged":
            what = f"[merged] {entry.body.get('title') or ''}".rstrip()
        case kind:
            what = f"[{kind}]"
    marks = [*(["edited"] if entry.edited else []), *(["pinned"] if entry.pinned else [])]
    marks += [f"{emoji} {count}" for emoji, count in entry.reactions.items()]
    behind = f" ({', '.join(marks)})" if marks else ""
    return f"{entry.sender}: {before}{what}{behind}"


def _glimpse(last: JsonObject) -> str:
    """The newest entry of a conversation, as its row has it."""
    sender = last.get("from", "")
    if last.get("recalled"):
        return f"* {sender} recalled a message"
    kind = last.get("kind", "")
    return f"{sender}: {last.get('preview') or f'[{kind}]'}"


def _which(seq: object, target: Entry | None) -> str:
    text = _text(target.body) if target is not None else None
    return f"message {seq}" if not text else text if len(text) <= SHOWN_OF_TARGET else f"{text[:SHOWN_OF_TARGET]}…"


def _text(body: object) -> str | None:
    match body:
        case {"text": str(text)}:
            return text
        case _:
            return None
