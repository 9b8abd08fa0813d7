"""`im tail`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import click

from imclient.cli.connecting import as_option, device_option, platform_option
from imclient.cli.options import EnvironmentProblem, stack_at, stack_option
from imclient.dialing import dialer
from imclient.errors import ImClientError
from imclient.frames import Entry
from imclient.ids import ConvId, UserId
from imclient.session import Dialer, Session
from imclient.transcript import Transcript


@click.command()
@as_option
@click.option("--conv", "convs", multiple=True, help="Only this conversation; may be given several times.")
@click.option(
    "--history",
    type=click.IntRange(min=0, max=10_000),
    default=0,
    show_default=True,
    help="Begin with so many entries of each --conv.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many entries.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds.")
@device_option("im-tail")
@platform_option
@stack_option
def tail(
    *,
    user: UserId,
    convs: tuple[str, ...],
    history: int,
    count: int | None,
    seconds: float | None,
    device: str,
    platform: str,
    stack_path: Path,
) -> None:
    """Print every entry that comes, as one JSON object a line, as the protocol has it: for pipes.

    What is printed of a conversation is in order, without holes and without repeats, also over lost connections.
    Changes to messages are entries of their own.

    \b
    Examples:
      im tail --as alice | jq -r '.from + ": " + .body.text'
      im tail --as alice --conv g:team --history 100 --count 100 > last100.jsonl
      im tail --as bot | ./bot.py | im send --as bot --conv g:team

    Ends with exit code 0 on Ctrl-C, with --count, with --seconds, and when nobody reads any more.
    """
    if history and not convs:
        raise click.UsageError("--history needs --conv: of which conversation?")
    dial = dialer(stack_at(stack_path), user, device, platform)
    try:
        asyncio.run(_tail(dial, user, frozenset(map(ConvId, convs)), history, count, seconds))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Python would complain once more when it ends and flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImClientError as error:
        raise EnvironmentProblem(str(error)) from error


class Printed:
    """What has been printed of each conversation. `over` is set when there is no more to print."""

    def __init__(self, convs: frozenset[ConvId], count: int | None) -> None:
        self.over = asyncio.Event()
        self.convs = convs
        self.broken: BrokenPipeError | None = None
        self._left = count
        self._through: dict[ConvId, int] = {}

    def newest(self, transcript: Transcript, number: int) -> None:
        """Print the newest entries of a conversation; with none of them, what has come since the start is news."""
        entries = transcript.entries()
        through = entries[-number - 1].seq if 0 < number < len(entries) else transcript.floor
        self._through[transcript.conv] = through
        self.whole(transcript)

    def whole(self, transcript: Transcript) -> None:
        """Print what is whole by now: what is behind a hole waits until that is filled."""
        conv = transcript.conv
        if self.convs and conv not in self.convs:
            return
        for seq in range(self._through.get(conv, transcript.floor) + 1, transcript.watermark + 1):
            if transcript.holds(seq) and not self.over.is_set():  # those it does not hold are closed to this user
                self._print(transcript[seq])
                self._through[conv] = seq

    def _print(self, entry: Entry) -> None:
        try:
            sys.stdout.write(json.dumps(entry.wire, ensure_ascii=False, separators=(",", ":")) + "\n")
            sys.stdout.flush()
        except BrokenPipeError as error:
            self.broken = error
            self.over.set()
            return
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.over.set()


async def _tail(
    dial: Dialer, user: UserId, convs: frozenset[ConvId], history: int, count: int | None, seconds: float | None
) -> None:
    printed = Printed(convs, count)
    early: set[ConvId] = set()  # what has something to print, before the history is printed
    history_first = True

    def news(conv: ConvId) -> None:
        if history_first:
            early.add(conv)
        else:
            printed.whole(session.transcript(conv))

    session = Session(dial, user, on_arrival=lambda arrival: news(arrival.entry.conv), on_settled=news)
    await session.start()
    try:
        for conv in sorted(convs):
            transcript = session.transcript(conv)
            while history and len(transcript) < history and await session.older(conv):
                pass
            printed.newest(transcript, history)
        history_first = False
        for conv in sorted(early - convs):
            printed.whole(session.transcript(conv))
        ended, over = asyncio.ensure_future(session.wait_ended()), asyncio.ensure_future(printed.over.wait())
        await asyncio.wait({ended, over}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (ended, over):
            waiting.cancel()
        if printed.broken is not None:
            raise printed.broken
        if session.failure is not None:
            raise session.failure
    finally:
        await session.close()
