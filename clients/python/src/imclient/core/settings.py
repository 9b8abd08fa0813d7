"""Every wait and limit of a client. The defaults are the protocol's; tests and the table of scenarios set others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in milliseconds.

    - `backlog`: how many entries before the first one seen of a conversation are needed: None for all of them.
    - `acknowledges`: whether the server is told what has been received (rule 3).
    - `stores`: whether what is to outlive the process is told, as `Save`.
    """

    backlog: int | None = 0
    acknowledges: bool = True
    stores: bool = False

    reply: int = 5_000
    """Without a reply for so long, the same frame goes out again."""
    sends: int = 12
    """So often, then a request has no reply. A message is sent until there is one."""
    tries: int = 8
    """So often a request is made that the server would rather have later."""
    dial: int = 20_000
    hole: int = 300
    hole_longest: int = 5_000
    passed_over: int = 300
    """With a backlog: of a longer hole at the end of a log, only what comes then is fetched; the rest is history."""
    acknowledge: int = 1_000
    read: int = 1_000
    inbox: int = 300
    """After news of a changed inbox: it seldom comes alone."""
    inbox_unknown: int = 1_000
    """After news of a conversation that is not in the list: its row may be written a moment later."""
    inbox_retry: int = 5_000
    ping_every: int = 240_000
    ping_deadline: int = 10_000
    late: int = 15_000
    """Woken so late, this machine has slept: what looks alive may be dead."""
    backoff_first: int = 500
    backoff_longest: int = 30_000
    stable: int = 5_000
    """A connection that lived so long was a good one: the next backoff begins anew."""
    renew: int = 6_600_000
    renew_spread: int = 600_000
    """A connection is renewed so long before `renew` at most: not all clients at once."""
