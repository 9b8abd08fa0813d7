"""What can go wrong, as types. Callers choose by type and field, never by the text of a message."""

from __future__ import annotations


class ImClientError(Exception):
    """The root of every error this package raises on purpose."""


class StackError(ImClientError):
    """The file that says where the stack is cannot be used. The message is one line for a person."""


class ChatLogError(ImClientError):
    """A chat log cannot be played. The message is one line for a person."""


class FrameTooLargeError(ImClientError):
    """A request would be larger than the protocol allows, so it was not sent.

    `size` and `limit` are in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"the frame has {size} bytes, the limit is {limit}")


class MalformedEntryError(ImClientError):
    """Something the server called an entry lacks a field that every entry has."""


class UpgradeRefusedError(ImClientError):
    """The server answered the WebSocket upgrade with an HTTP `status` other than 101 (401, 403, 5xx)."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the server refused the connection with HTTP status {status}")


class UnreachableError(ImClientError):
    """No WebSocket could be opened: no such host, nothing listens, no answer in time, or not a WebSocket."""


class ConnectionLostError(ImClientError):
    """The connection is closed, by whomever.

    `code` is the WebSocket close code, None when there was no close frame. `kicked` is the reason the server gave in
    its push `kicked` ("replaced", "logout", …), None when the server gave none.
    """

    def __init__(self, *, code: int | None = None, kicked: str | None = None) -> None:
        self.code = code
        self.kicked = kicked
        why = f"the server closed it: {kicked}" if kicked is not None else f"close code {code}"
        super().__init__(f"the connection is closed ({why})")


class NoReplyError(ImClientError):
    """A request got no reply, although the same frame was sent `sent` times."""

    def __init__(self, route: str, op: str, sent: int) -> None:
        self.route = route
        self.op = op
        self.sent = sent
        super().__init__(f"no reply to {route}.{op}, sent {sent} times")


class ReplyError(ImClientError):
    """The server answered a request with an error.

    `code` is one of the protocol's error codes, `message` its text, `retryable` whether the same request may succeed
    later, `retry_after_ms` how long to wait before that, where the server said so. `amount` is what the caller has of a
    red packet already, of `already_claimed`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        retry_after_ms: int | None = None,
        amount: int | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.amount = amount
        super().__init__(f"{code}: {message}")


class ReplayStoppedError(ImClientError):
    """A replay could not go on to its end. The message says at which step and why."""


class RecordingError(ImClientError):
    """A recording cannot be read. The message names the file, the line and why."""


class SoakError(ImClientError):
    """A soak cannot begin, or its end cannot be judged. The message is one line for a person."""
