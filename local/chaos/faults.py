"""What may go wrong with a call of a function to the cloud, and when it does: decided by seeded dice."""

import random
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

REMEMBERED = 1000
"""Calls whose attempts all fail, remembered at a time."""

SHORTEST_DELAY_S = 0.2
LONGEST_DELAY_S = 3.0
"""As long as the functions wait for an answer: such a call may take effect when it has been given up already."""


class Kind(StrEnum):
    """What happens to a call. The text is what logs call it."""

    ERROR = "error"  # 500, without effect
    THROTTLED = "throttled"  # without effect
    RESET_BEFORE = "reset before"  # the connection breaks, without effect
    RESET_AFTER = "reset after"  # the call takes effect, and the connection breaks in place of an answer
    DELAY = "delay"  # the call takes effect, late
    DROPPED = "dropped"  # a push that is answered for, and goes nowhere
    GONE = "gone"  # a push to a connection that is said to be closed, and is not


_OF_ANY_CALL = (Kind.ERROR, Kind.THROTTLED, Kind.RESET_BEFORE, Kind.RESET_AFTER, Kind.DELAY)
_OF_PUSHES = (*_OF_ANY_CALL, Kind.DROPPED, Kind.DROPPED, Kind.GONE)
_LASTING = frozenset({Kind.ERROR, Kind.THROTTLED, Kind.RESET_BEFORE, Kind.RESET_AFTER})

PUSH = "execute-api.PostToConnection"


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of a call."""

    operation: str
    """As in `dynamodb.PutItem`."""
    function: str | None = None
    """Who makes it, by the name in the template; None when that is not known."""
    invocation: str | None = None
    """The same for all attempts of a call; None when the caller does not say."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one attempt."""

    kind: Kind
    delay_s: float = 0.0


class Storm:
    """Faults at a rate, on whatever call comes when one is due. The dice fall the same for the same seed; which calls
    they meet, the moment decides. Half of the faults that an SDK would get over meet all of a call's attempts."""

    def __init__(self, seed: int, faults_per_minute: float, now: float) -> None:
        self._dice = random.Random(f"faults {seed}")  # noqa: S311 - must be the same each time
        self._rate = faults_per_minute / 60
        self._due = now + self._pause()
        self._lasting: OrderedDict[str, Fault] = OrderedDict()

    def fault(self, call: Call, now: float) -> Fault | None:
        """What happens to an attempt that comes `now`, in seconds of any clock that does not go back."""
        if call.invocation is not None and (lasting := self._lasting.get(call.invocation)) is not None:
            return lasting
        if now < self._due:
            return None
        self._due = now + self._pause()
        kind = self._dice.choice(_OF_PUSHES if call.operation == PUSH else _OF_ANY_CALL)
        delay = self._dice.uniform(SHORTEST_DELAY_S, LONGEST_DELAY_S)
        lasts = self._dice.random() < 0.5
        fault = Fault(kind, delay if kind is Kind.DELAY else 0.0)
        if lasts and kind in _LASTING and call.invocation is not None:
            self._lasting[call.invocation] = fault
            if len(self._lasting) > REMEMBERED:
                self._lasting.popitem(last=False)
        return fault

    def _pause(self) -> float:
        return self._dice.expovariate(self._rate) if self._rate else float("inf")
