"""Dead letters go back to the queue that they came from, or away for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

from imclient.admin.dead_letters import Content, DeadLetter
from imclient.admin.deployed import AwsRefusedError
from imclient.admin.queues import Queues
from imclient.admin.taking import Taking


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant: those of one conversation, those of these ids; without either, all."""

    conv: str | None = None
    ids: Collection[str] = ()

    def __contains__(self, letter: DeadLetter) -> bool:
        if self.ids and letter.id not in self.ids:
            return False
        return self.conv is None or (isinstance(letter.content, Content) and letter.content.conv == self.conv)


ALL = Choice()


@dataclass(slots=True)
class Outcome:
    """What became of the dead letters that were there when it began."""

    done: list[DeadLetter] = field(default_factory=list)
    """Seen, moved or deleted, whichever was asked for."""
    unreadable: list[DeadLetter] = field(default_factory=list)
    """Chosen, and nobody can tell where they belong: they stay."""
    others: int = 0
    """Not chosen: they stay."""
    later: int = 0
    """Came since: they stay."""
    unseen: int = 0
    """About how many were not met: somebody else held them, or they are behind such that stay in their group."""
    missing: list[str] = field(default_factory=list)
    """Ids that were chosen and not met."""


@dataclass(frozen=True, slots=True)
class DeadLetterQueue:
    """What can be done with the dead letters of a stack while it runs.

    Every method may be repeated, and run twice at the same time. Each raises AwsRefusedError; `outcome` says in any
    case how far it came.
    """

    queues: Queues
    outcome: Outcome = field(default_factory=Outcome)
    tell: Callable[[DeadLetter], None] = lambda _: None
    """Told each letter when it is done."""
    pause: Callable[[float], None] = time.sleep

    def look(self, choice: Choice = ALL) -> None:
        """See what is there. 2 requests for every 10 letters. Until it ends nobody else can receive them."""
        with self._taking(choice) as taking:
            for letter in self._chosen(taking, choice):
                self._done(letter)

    def redrive(self, choice: Choice = ALL) -> None:
        """Send each letter to the queue that it came from, then delete it. 2 requests a letter and 1 for every 10.

        Whoever is broken off between the two and starts again sends a letter twice: SQS drops the second for five
        minutes, and after that the fan-out does again what it has done, which changes nothing. The letters of a group
        go one after the other, in their order.
        """
        with self._taking(choice) as taking:
            for letter in self._chosen(taking, choice):
                home = self.queues.home(letter)
                if home is None:
                    self.outcome.unreadable.append(letter)
                    continue
                self.queues.client.send_message(
                    QueueUrl=home,
                    MessageBody=letter.body,
                    MessageGroupId=letter.group,
                    # Not the first one's own, which SQS may still remember; the same whenever this letter is sent.
                    MessageDeduplicationId=f"redrive:{letter.id}",
                )
                taking.delete(letter)
                self._done(letter)

    def drop(self, ids: Collection[str]) -> None:
        """Delete letters, readable or not. 1 request each and 1 for every 10."""
        choice = Choice(ids=ids)
        with self._taking(choice) as taking:
            for letter in self._chosen(taking, choice):
                taking.delete(letter)
                self._done(letter)

    @contextmanager
    def _taking(self, choice: Choice) -> Iterator[Taking]:
        taking = Taking(self.queues.client, self.queues.dead)
        try:
            with taking:
                # What fails again comes back at once, and must not pass for one that was there before: SQS tells its
                # time to the second.
                self.pause(1)
                yield taking
        except (BotoCoreError, ClientError) as error:
            raise AwsRefusedError(str(error)) from error
        finally:
            self.outcome.later = taking.later
            self.outcome.unseen = max(0, taking.there - len(taking.met))
            self.outcome.missing = sorted(set(choice.ids) - taking.met)

    def _chosen(self, taking: Taking, choice: Choice) -> Iterator[DeadLetter]:
        for letter in taking.letters():
            if letter in choice:
                yield letter
            else:
                self.outcome.others += 1

    def _done(self, letter: DeadLetter) -> None:
        self.outcome.done.append(letter)
        self.tell(letter)
