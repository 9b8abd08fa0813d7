"""The fan-out queues: SQS FIFO, one message group a conversation. What overtakes has one of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from im.aws.failures import OURS, NotQueued, is_ours
from im.aws.queue_messages import MAX_BATCH, UnreadableMessage, message_of, reading, short
from im.domain.conversation import parse_conversation
from im.domain.entries import EXPRESS, Entry, Forwarded
from im.domain.ids import Cmid, ConnectionId, Seq, UserId

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

VERSION: Final = 1

MAX_BATCH_BYTES: Final = 256 * 1024
"""Of the bodies of one request. SQS takes more by now, but not in every region and partition."""

log = logging.getLogger("im")


@dataclass(frozen=True, slots=True)
class Queued:
    """One entry on its way to the members of its conversation."""

    entry: Entry
    origin: ConnectionId | None
    """The connection that sent it: it has the reply and gets no push."""
    only: UserId | None = None
    """The one member that it is for: the others have it already."""
    found: bool = False
    """Whether the auditor has queued it: the function that stored it had not."""
    changed: bool = False
    """Whether it had been changed when it was queued: by a repeat, then."""


@dataclass(frozen=True, slots=True)
class FanoutQueue:
    """The queue at `url`, and the one at `express_url` for what overtakes (EXPRESS).

    Who never meets what overtakes, or nothing else, needs one queue and may send to one: without an `express_url` all
    goes to `url`.
    """

    client: SQSClient
    url: str
    express_url: str | None = None

    def put(self, entry: Entry, origin: ConnectionId | None) -> None:
        """Queue the fan-out of a stored entry. Repeats within five minutes are one message. 1 request.

        Order: the entries of one conversation share a group. Two senders may queue 7 and 8 the other way round:
        the rows' watermarks and the clients' seqs do not mind.
        """
        group, once = _ids(entry)
        self.client.send_message(
            QueueUrl=self._url_for(entry),
            MessageBody=encode(Queued(entry, origin)),
            MessageGroupId=group,
            MessageDeduplicationId=once,
        )

    def put_found(self, entries: Sequence[Entry]) -> None:
        """Queue what is perhaps not queued yet: what `put` has queued within the last five minutes, SQS drops.

        1 request for every 10 entries of a queue, and for every 256 KiB. Raises NotQueued, and what boto3 raises, when
        SQS could not take some. What can never be queued is logged and left out: no other entry may wait for it. Nor
        does one queue's entry wait for the other queue.
        """
        bodies: list[tuple[Entry, str]] = []
        for entry in entries:
            try:
                body = encode(Queued(entry, None, found=True))
                body.encode()  # SQS takes UTF-8
            except ValueError as e:
                _left_out(entry, type(e).__name__)
            else:
                bodies.append((entry, body))
        ordinary = [one for one in bodies if self._url_for(one[0]) == self.url]
        express = [one for one in bodies if self._url_for(one[0]) != self.url]
        try:
            for some in _requests(express):
                self._put_found(some)
        finally:
            for some in _requests(ordinary):
                self._put_found(some)

    def _put_found(self, some: Sequence[tuple[Entry, str]]) -> None:
        try:
            out = self.client.send_message_batch(
                QueueUrl=self._url_for(some[0][0]),
                Entries=[
                    {"Id": str(i), "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": once}
                    for i, (group, once, body) in enumerate((*_ids(entry), body) for entry, body in some)
                ],
            )
        except ClientError as e:
            if not is_ours(e):
                raise
            if len(some) == 1:
                _left_out(some[0][0], e.response["Error"]["Code"])
                return
            for one in some:
                self._put_found([one])
            return
        failed = {int(one["Id"]): one["Code"] for one in out.get("Failed", [])}
        for i, code in failed.items():
            if code in OURS:
                _left_out(some[i][0], code)
        if passing := sorted(set(failed.values()) - OURS):
            raise NotQueued(", ".join(passing))

    def put_for(self, user: UserId, queued: Queued) -> None:
        """Queue an entry again for one member alone, in a group of its own: it waits for nobody and nobody for it."""
        entry = queued.entry
        self.client.send_message(
            QueueUrl=self._url_for(entry),
            MessageBody=encode(replace(queued, only=user)),
            MessageGroupId=short(f"{entry.conv}#{user}"),
            MessageDeduplicationId=short(f"{entry.conv}#{user}:{entry.seq}"),
        )

    def _url_for(self, entry: Entry) -> str:
        return self.express_url if self.express_url is not None and entry.kind in EXPRESS else self.url


def encode(queued: Queued) -> str:
    """The body of a queue message.

    SQS turns U+FFFE and U+FFFF, which JSON allows, into U+FFFD: they travel as escapes.
    """
    # Without its state: what comes late or was changed is read again before it is pushed (flows/push_entries.py).
    entry = {name: value for name, value in asdict(queued.entry).items() if name != "state"}
    body = json.dumps(
        {
            "v": VERSION,
            "entry": entry,
            "origin": queued.origin,
            "only": queued.only,
            "found": queued.found,
            "changed": queued.changed or bool(queued.entry.state.changed),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def decode(body: str) -> Queued:
    """What a queue message carries. Raises UnreadableMessage, NewerMessage."""
    with reading():
        message = message_of(body, VERSION)
        fields = message["entry"]
        entry = Entry(
            conv=parse_conversation(str(fields["conv"]), "conv").conv,
            seq=Seq(int(fields["seq"])),
            n=int(fields["n"]),
            epoch=Seq(int(fields["epoch"])),
            kind=str(fields["kind"]),
            sender=UserId(str(fields["sender"])),
            ts=int(fields["ts"]),
            body=str(fields["body"]),
            cmid=Cmid(str(fields["cmid"])) if fields["cmid"] is not None else None,
            mentions=tuple(str(user) for user in fields["mentions"]),
            reply_to=Seq(int(fields["reply_to"])) if fields["reply_to"] is not None else None,
            # Missing in messages that were queued by an earlier version.
            large=Seq(int(fields.get("large", 0))),
            prior=Seq(int(fields.get("prior", 0))),
            forwarded=_forwarded(fields.get("forwarded")),
        )
        if not (entry.seq >= 1 and 0 <= entry.n <= entry.seq and 0 <= entry.prior <= entry.epoch <= entry.seq):
            raise UnreadableMessage("no such entry")
        origin, only = message["origin"], message.get("only")
    return Queued(
        entry,
        origin=ConnectionId(str(origin)) if origin is not None else None,
        only=UserId(str(only)) if only is not None else None,
        found=message.get("found") is True,
        changed=message.get("changed") is True,
    )


def _ids(entry: Entry) -> tuple[str, str]:
    """The group and the deduplication id of an entry on its way to all members: whoever queues it gives it the same,
    so it is queued once."""
    return short(entry.conv), short(f"{entry.conv}:{entry.seq}")


def _left_out(entry: Entry, why: str) -> None:
    log.error("an entry can never be queued", extra={"conv": entry.conv, "seq": entry.seq, "why": why})


def _requests(messages: Sequence[tuple[Entry, str]]) -> Iterator[Sequence[tuple[Entry, str]]]:
    """`messages` in runs that fit into one request each."""
    some: list[tuple[Entry, str]] = []
    size = 0
    for entry, body in messages:
        length = len(body.encode())
        if some and (len(some) == MAX_BATCH or size + length > MAX_BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append((entry, body))
        size += length
    if some:
        yield some


def _forwarded(value: Any) -> Forwarded | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise TypeError(f"forwarded is no list: {value!r}")
    sender, ts = value
    return Forwarded(UserId(str(sender)), int(ts))
