"""`since` never misses a row, whatever the clocks of two function instances say.

Two instances whose clocks are 5 s or an hour apart
write the rows of one inbox. A write is stamped by its instance's clock and
takes up to 20 s to arrive; a reader may get each row as it was up to a second ago, as an eventually consistent read
does. A client takes what `since` gives it and nothing else: at rest it must hold every row as it is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from im.domain import inbox_version
from im.domain.ids import ConvId, Seq
from im.domain.inbox import Inbox, Row, Shown
from im.domain.inbox_version import MOST_BUCKETS, changed_since, parse_version, version_of

INTERLEAVINGS = 10_000
APART_MS = (5_000, 3_600_000)
SLOWEST_WRITE_MS = 20_000
REPLICA_LAG_MS = 1_000
ROWS = 4
SEED = 20_261_121


def row(number: int, version: int, updated: int) -> Row:
    """A row that was written so often."""
    return Row(
        conv=ConvId(f"d:alice:user{number}"),
        last_seq=Seq(version),
        last_n=version,
        shown=Shown(Seq(1), 1),
        read_seq=Seq(0),
        read_n=0,
        ack_seq=Seq(0),
        mention_seq=Seq(0),
        updated=updated,
        version=version,
    )


@dataclass
class Table:
    """The rows of one inbox with all that they ever were, by when it was applied."""

    states: dict[ConvId, list[tuple[int, Row]]] = field(default_factory=dict)

    def write(self, number: int, applied: int, stamped: int) -> None:
        """As DynamoDB applies a write: one version more, and the time that the writer's clock said."""
        states = self.states.setdefault(ConvId(f"d:alice:user{number}"), [])
        version = states[-1][1].version + 1 if states else 1
        states.append((applied, row(number, version, stamped)))

    def read(self, chance: random.Random, now: int, lag: int) -> Inbox:
        """Each row as it was at some moment within the lag of its replica."""
        seen = []
        for states in self.states.values():
            as_of = now - chance.randint(0, lag)
            visible = [state for applied, state in states if applied <= as_of]
            seen += visible[-1:]
        return Inbox(seen)


def missed(seed: int, apart: int) -> set[ConvId]:
    """The rows that a client does not hold as they are, after one interleaving and a sync at rest."""
    chance = random.Random(seed)
    early = chance.randint(-apart, 0)
    clocks = (early, early + apart)
    events = []
    for _ in range(chance.randint(2, 8)):
        begun = chance.randint(0, 60_000)
        applied = begun + chance.randint(0, SLOWEST_WRITE_MS)
        events.append((applied, "write", chance.randrange(ROWS), begun + chance.choice(clocks)))
    events += [(chance.randint(0, 90_000), "sync", 0, 0) for _ in range(chance.randint(1, 4))]
    table, since = Table(), None
    held: dict[ConvId, Row] = {}
    for at, what, number, stamped in [*sorted(events), (200_000, "sync", 0, 0)]:
        if what == "write":
            table.write(number, at, stamped)
            continue
        inbox = table.read(chance, at, REPLICA_LAG_MS)
        held |= {changed.conv: changed for changed in changed_since(inbox, parse_version(since) if since else None)}
        since = str(version_of(inbox))
    return {conv for conv, states in table.states.items() if held.get(conv) != states[-1][1]}


@pytest.mark.parametrize("apart", APART_MS)
def test_no_row_is_missed_in_ten_thousand_interleavings(apart: int) -> None:
    bad = {seed: conv for seed in range(SEED, SEED + INTERLEAVINGS) if (conv := missed(seed, apart))}
    assert not bad, f"seeds: {bad}"


def test_this_would_notice_a_clock_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_time(inbox: Inbox, since: inbox_version.InboxVersion | None) -> list[Row]:
        return [row for row in inbox.rows if since is None or row.updated > since.about]

    def newest(inbox: Inbox) -> inbox_version.InboxVersion:
        times = [row.updated for row in inbox.rows]
        return inbox_version.InboxVersion(max([0, *times]), (0, 0, 0, 0))

    monkeypatch.setitem(globals(), "changed_since", by_time)
    monkeypatch.setitem(globals(), "version_of", newest)
    assert any(missed(seed, APART_MS[0]) for seed in range(SEED, SEED + 1_000))


@pytest.mark.parametrize(("rows", "told"), [(5, 5), (50, 30), (500, 60), (5_000, 120)])
def test_few_rows_are_told_that_have_not_changed(rows: int, told: int) -> None:
    before = Inbox([row(number, 1, 1) for number in range(rows)])
    after = Inbox([row(number, 2 if number < 3 else 1, 1) for number in range(rows)])
    changed = changed_since(after, version_of(before))
    assert {r.conv for r in after.rows if r.version == 2} <= {r.conv for r in changed}
    assert len(changed) <= told


def test_a_version_of_many_rows_is_compared_in_the_buckets_that_it_has() -> None:
    few, many = Inbox([row(n, 1, 1) for n in range(10)]), Inbox([row(n, 1, 1) for n in range(5_000)])
    assert {r.conv for r in changed_since(many, version_of(few))} >= {r.conv for r in many.rows[10:]}
    assert len(str(version_of(many))) <= 2_048
    assert len(version_of(many).buckets) == MOST_BUCKETS
    assert changed_since(many, parse_version(str(version_of(many)))) == []


def test_what_a_user_hides_is_part_of_the_version() -> None:
    inbox = Inbox([row(1, 1, 1)])
    assert version_of(inbox) != version_of(replace(inbox, version=1, hides=frozenset({"receipts"})))
