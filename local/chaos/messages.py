"""As much of HTTP/1.1 as a proxy between the AWS SDK and the emulated cloud needs: whole messages, one at a time."""

import asyncio
from dataclasses import dataclass

MAX_BODY = 16 * 1024 * 1024

Headers = list[tuple[str, str]]


class NotHttpError(Exception):
    """What came is no message that this module reads."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response. `body` is as it came: a chunked one still has its chunks' sizes in it."""

    start: str
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first value of a header, by its name in small letters; empty when there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def without(self, *names: str) -> Headers:
        """The headers but those, by their names in small letters."""
        return [(name, value) for name, value in self.headers if name.lower() not in names]

    @property
    def has_an_end(self) -> bool:
        """Whether the reader of a response can tell where it ends without the end of the connection."""
        return bool(self.header("content-length") or self.header("transfer-encoding")) or " 204 " in self.start

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


async def read_request(reader: asyncio.StreamReader) -> Message | None:
    """The next request; None at the end of the connection. Raises NotHttpError, and OSError when it breaks."""
    head = await _head(reader)
    if head is None:
        return None
    if head.header("transfer-encoding"):
        raise NotHttpError("a request in chunks")  # the SDK sends none but to S3
    return Message(head.start, head.headers, await _exactly(reader, _length(head) or 0))


async def read_response(reader: asyncio.StreamReader) -> Message:
    """The response to a request that asked for `Connection: close`. Raises NotHttpError, OSError."""
    head = await _head(reader)
    if head is None:
        raise ConnectionResetError("no response")
    length = _length(head)
    body = await reader.read(MAX_BODY) if length is None else await _exactly(reader, length)
    while length is None and not reader.at_eof():
        body += await reader.read(MAX_BODY)
        if len(body) > MAX_BODY:
            raise NotHttpError("a response without an end")
    return Message(head.start, head.headers, body)


async def _head(reader: asyncio.StreamReader) -> Message | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise ConnectionResetError("the head of a message is cut off") from end
        return None
    except asyncio.LimitOverrunError as large:
        raise NotHttpError("a head of more than 64 KiB") from large
    start, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise NotHttpError("a header without a colon")
        headers.append((name, value.strip()))
    return Message(start, headers)


def _length(head: Message) -> int | None:
    value = head.header("content-length")
    if not value:
        return None
    if not (value.isascii() and value.isdigit()) or int(value) > MAX_BODY:
        raise NotHttpError(f"a length of {value[:20]}")
    return int(value)


async def _exactly(reader: asyncio.StreamReader, length: int) -> bytes:
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as end:
        raise ConnectionResetError("the body of a message is cut off") from end
