"""The contract of flows/payments.py: what every payment system must keep, the built-in wallet and any gateway.

To try one, subclass PaymentsContract and give it a fixture `system`; tests/contracts/test_payments_contract.py does.
Users and packets are new in every test, so it may run against a system that remembers those of the last run.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from im.aws.failures import may_pass
from im.domain.errors import Conflict, InsufficientFunds
from im.domain.ids import Cmid, ConvId, UserId
from im.domain.red_packet import PacketId, packet_id
from im.flows.payments import Payments

AT_ONCE = 8


@dataclass(frozen=True)
class System:
    """A payment system to be tried."""

    payments: Payments
    balance: Callable[[UserId], int]
    """What a user has that is in no packet."""
    opening: int
    """What a user has who was never named before, at least 100."""


class Persistent:
    """Payments as flows use them: what may pass is asked for again."""

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    def __getattr__(self, movement: str) -> Callable[..., None]:
        def again(*what: Any) -> None:
            for _ in range(10):
                try:
                    getattr(self._payments, movement)(*what)
                except Exception as e:
                    if not may_pass(e):
                        raise
                    failed = e
                else:
                    return
            raise failed

        return again


def new_user() -> UserId:
    """Somebody whom nobody knows."""
    return UserId(f"u-{uuid.uuid4().hex}")


def new_packet(sender: UserId) -> PacketId:
    """A packet of somebody's."""
    return packet_id(ConvId("g:contract"), sender, Cmid(uuid.uuid4().hex))


def together(*calls: Callable[[], None]) -> list[Exception | None]:
    """Make all calls at the same time; what each of them raised."""
    begin = threading.Barrier(len(calls))

    def make(call: Callable[[], None]) -> Exception | None:
        begin.wait()
        try:
            call()
        except Exception as e:  # noqa: BLE001 - the test asks what it was
            return e
        return None

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(make, calls))


@dataclass
class Scene:
    """A sender with a packet, and what the tests ask about them."""

    system: System
    sender: UserId
    packet: PacketId

    @property
    def payments(self) -> Payments:
        return self.system.payments

    def has(self, user: UserId) -> int:
        return self.system.balance(user)

    def spent(self) -> int:
        """What the sender lacks."""
        return self.system.opening - self.has(self.sender)


class PaymentsContract:
    """Subclass it with a fixture `system` that returns a System."""

    @pytest.fixture
    def scene(self, system: System) -> Scene:
        sender = new_user()
        assert system.balance(sender) == system.opening >= 100
        return Scene(system, sender, new_packet(sender))

    # ---- hold --------------------------------------------------------------------------------------------------------

    def test_a_hold_takes_the_money_from_the_sender_and_nobody_else(self, scene: Scene) -> None:
        other = new_user()

        scene.payments.hold(scene.packet, scene.sender, 30)

        assert scene.spent() == 30
        assert scene.has(other) == scene.system.opening

    def test_the_first_movement_of_somebody_nobody_knows_yet(self, system: System) -> None:
        sender, claimer = new_user(), new_user()
        packet = new_packet(sender)

        system.payments.hold(packet, sender, 30)
        system.payments.pay(packet, 0, claimer, 30)

        assert system.balance(sender) == system.opening - 30
        assert system.balance(claimer) == system.opening + 30

    def test_a_hold_is_made_once(self, scene: Scene) -> None:
        for _ in range(3):
            scene.payments.hold(scene.packet, scene.sender, 30)

        assert scene.spent() == 30

    def test_a_hold_is_made_once_at_the_same_time(self, scene: Scene) -> None:
        outcomes = together(*[partial(scene.payments.hold, scene.packet, scene.sender, 30)] * AT_ONCE)

        assert outcomes == [None] * AT_ONCE
        assert scene.spent() == 30

    def test_a_hold_that_was_made_needs_no_money_when_it_is_repeated(self, scene: Scene) -> None:
        everything = scene.system.opening
        scene.payments.hold(scene.packet, scene.sender, everything)

        scene.payments.hold(scene.packet, scene.sender, everything)

        assert scene.has(scene.sender) == 0

    def test_a_hold_of_too_much_moves_nothing(self, scene: Scene) -> None:
        with pytest.raises(InsufficientFunds):
            scene.payments.hold(scene.packet, scene.sender, scene.system.opening + 1)

        assert scene.spent() == 0
        with pytest.raises(Exception) as info:  # noqa: PT011 - each system has its own
            scene.payments.pay(scene.packet, 0, new_user(), 1)
        assert not may_pass(info.value)

    def test_a_hold_that_was_refused_is_made_when_there_is_money(self, scene: Scene) -> None:
        much = scene.system.opening + 20
        with pytest.raises(InsufficientFunds):
            scene.payments.hold(scene.packet, scene.sender, much)
        self.give(scene, scene.sender, 20)

        scene.payments.hold(scene.packet, scene.sender, much)

        assert scene.has(scene.sender) == 0

    def test_holds_at_the_same_time_take_no_more_than_there_is(self, scene: Scene) -> None:
        each = scene.system.opening // 3
        packets = [new_packet(scene.sender) for _ in range(AT_ONCE)]

        outcomes = together(*[partial(scene.payments.hold, packet, scene.sender, each) for packet in packets])

        refused = [outcome for outcome in outcomes if outcome is not None]
        assert len(refused) == AT_ONCE - 3
        assert all(isinstance(outcome, InsufficientFunds) for outcome in refused), refused
        assert scene.spent() == 3 * each

    # ---- pay ---------------------------------------------------------------------------------------------------------

    def test_a_share_is_paid_once(self, scene: Scene) -> None:
        claimer = new_user()
        scene.payments.hold(scene.packet, scene.sender, 30)

        for _ in range(3):
            scene.payments.pay(scene.packet, 0, claimer, 10)

        assert scene.has(claimer) == scene.system.opening + 10
        assert scene.spent() == 30

    def test_a_share_is_paid_once_at_the_same_time(self, scene: Scene) -> None:
        claimer = new_user()
        scene.payments.hold(scene.packet, scene.sender, 30)

        outcomes = together(*[partial(scene.payments.pay, scene.packet, 0, claimer, 10)] * AT_ONCE)

        assert outcomes == [None] * AT_ONCE
        assert scene.has(claimer) == scene.system.opening + 10

    def test_shares_differ_by_their_numbers_alone(self, scene: Scene) -> None:
        claimer = new_user()
        scene.payments.hold(scene.packet, scene.sender, 30)

        outcomes = together(*[partial(scene.payments.pay, scene.packet, share, claimer, 10) for share in (0, 1, 2)])

        assert outcomes == [None] * 3
        assert scene.has(claimer) == scene.system.opening + 30

    def test_packets_differ(self, scene: Scene) -> None:
        claimer, second = new_user(), new_packet(scene.sender)
        for packet in (scene.packet, second):
            scene.payments.hold(packet, scene.sender, 10)
            scene.payments.pay(packet, 0, claimer, 10)

        assert scene.has(claimer) == scene.system.opening + 20
        assert scene.spent() == 20

    def test_the_sender_may_have_a_share(self, scene: Scene) -> None:
        scene.payments.hold(scene.packet, scene.sender, 30)
        scene.payments.pay(scene.packet, 0, scene.sender, 10)

        assert scene.spent() == 20

    def test_a_packet_gives_no_more_than_it_holds(self, scene: Scene) -> None:
        claimer = new_user()
        scene.payments.hold(scene.packet, scene.sender, 30)
        scene.payments.pay(scene.packet, 0, claimer, 20)

        for movement in (
            partial(scene.payments.pay, scene.packet, 1, claimer, 11),
            partial(scene.payments.refund, scene.packet, scene.sender, 11),
        ):
            with pytest.raises(Exception) as info:  # noqa: PT011 - each system has its own
                movement()
            assert not may_pass(info.value)

        assert scene.has(claimer) == scene.system.opening + 20
        assert scene.spent() == 30

    def test_payments_at_the_same_time_give_no_more_than_is_held(self, scene: Scene) -> None:
        claimer = new_user()
        scene.payments.hold(scene.packet, scene.sender, 30)

        payments = [partial(scene.payments.pay, scene.packet, share, claimer, 10) for share in range(AT_ONCE)]
        outcomes = together(*payments)

        assert outcomes.count(None) == 3
        assert not any(may_pass(outcome) for outcome in outcomes if outcome is not None)
        assert scene.has(claimer) == scene.system.opening + 30

    def test_a_packet_without_money_gives_none(self, scene: Scene) -> None:
        claimer = new_user()

        with pytest.raises(Exception) as info:  # noqa: PT011 - each system has its own
            scene.payments.pay(scene.packet, 0, claimer, 10)

        assert not may_pass(info.value)
        assert scene.has(claimer) == scene.system.opening

    # ---- refund ------------------------------------------------------------------------------------------------------

    def test_a_refund_is_made_once(self, scene: Scene) -> None:
        scene.payments.hold(scene.packet, scene.sender, 30)
        scene.payments.pay(scene.packet, 0, new_user(), 10)

        for _ in range(3):
            scene.payments.refund(scene.packet, scene.sender, 20)

        assert scene.spent() == 10

    def test_a_refund_is_made_once_at_the_same_time(self, scene: Scene) -> None:
        scene.payments.hold(scene.packet, scene.sender, 30)

        outcomes = together(*[partial(scene.payments.refund, scene.packet, scene.sender, 10)] * AT_ONCE)

        assert outcomes == [None] * AT_ONCE
        assert scene.spent() == 20

    def test_a_refund_waits_for_no_payment(self, scene: Scene) -> None:
        claimer = new_user()
        scene.payments.hold(scene.packet, scene.sender, 30)

        scene.payments.refund(scene.packet, scene.sender, 20)
        scene.payments.pay(scene.packet, 0, claimer, 10)

        assert scene.has(claimer) == scene.system.opening + 10
        assert scene.spent() == 10

    # ---- release -----------------------------------------------------------------------------------------------------

    def test_a_release_gives_everything_back_once(self, scene: Scene) -> None:
        scene.payments.hold(scene.packet, scene.sender, 30)

        for _ in range(3):
            scene.payments.release(scene.packet, scene.sender, 30)

        assert scene.spent() == 0

    def test_a_release_gives_everything_back_once_at_the_same_time(self, scene: Scene) -> None:
        scene.payments.hold(scene.packet, scene.sender, 30)

        outcomes = together(*[partial(scene.payments.release, scene.packet, scene.sender, 30)] * AT_ONCE)

        assert outcomes == [None] * AT_ONCE
        assert scene.spent() == 0

    def test_a_hold_that_comes_after_its_release_is_refused(self, scene: Scene) -> None:
        scene.payments.release(scene.packet, scene.sender, 30)

        for _ in range(2):
            with pytest.raises(Conflict):
                scene.payments.hold(scene.packet, scene.sender, 30)

        scene.payments.release(scene.packet, scene.sender, 30)
        assert scene.spent() == 0

    def test_a_hold_that_is_repeated_after_its_release_is_refused(self, scene: Scene) -> None:
        scene.payments.hold(scene.packet, scene.sender, 30)
        scene.payments.release(scene.packet, scene.sender, 30)

        with pytest.raises(Conflict):
            scene.payments.hold(scene.packet, scene.sender, 30)

        assert scene.spent() == 0

    def test_a_released_packet_is_refused_before_it_is_asked_who_has_enough(self, scene: Scene) -> None:
        scene.payments.release(scene.packet, scene.sender, scene.system.opening + 1)

        with pytest.raises(Conflict):
            scene.payments.hold(scene.packet, scene.sender, scene.system.opening + 1)

    def test_a_release_of_a_packet_that_was_refused_moves_nothing(self, scene: Scene) -> None:
        much = scene.system.opening + 1
        with pytest.raises(InsufficientFunds):
            scene.payments.hold(scene.packet, scene.sender, much)

        scene.payments.release(scene.packet, scene.sender, much)

        assert scene.spent() == 0

    def test_a_hold_and_its_release_at_the_same_time_leave_everything_where_it_was(self, scene: Scene) -> None:
        for _ in range(5):
            packet = new_packet(scene.sender)
            hold = partial(scene.payments.hold, packet, scene.sender, 30)
            release = partial(scene.payments.release, packet, scene.sender, 30)

            outcomes = together(hold, release, hold, release)

            assert {type(outcome) for outcome in outcomes[::2]} <= {type(None), Conflict}
            assert outcomes[1::2] == [None, None]
            assert scene.spent() == 0

    # ---- all together ------------------------------------------------------------------------------------------------

    def test_what_nobody_has_is_in_the_packets(self, scene: Scene) -> None:
        claimers = [new_user() for _ in range(3)]
        everybody = [scene.sender, *claimers]
        all_of_it = scene.system.opening * len(everybody)

        def in_users() -> int:
            return sum(map(scene.has, everybody))

        scene.payments.hold(scene.packet, scene.sender, 60)
        assert in_users() == all_of_it - 60
        for n, claimer in enumerate(claimers):
            scene.payments.pay(scene.packet, n, claimer, 10 + n)
        assert in_users() == all_of_it - 27
        scene.payments.refund(scene.packet, scene.sender, 27)
        assert in_users() == all_of_it

    @pytest.mark.parametrize("seed", range(3))
    def test_whatever_is_repeated_and_in_whichever_order_money_is_moved_once(self, system: System, seed: int) -> None:
        dice = random.Random(seed)
        users = [new_user() for _ in range(4)]
        expected = dict.fromkeys(users, system.opening)
        lives = [self.life_of_a_packet(system.payments, dice, users, expected) for _ in range(6)]

        outcomes = together(*[partial(self.play, life) for life in lives])

        assert outcomes == [None] * len(lives)
        assert {user: system.balance(user) for user in users} == expected
        assert sum(expected.values()) == system.opening * len(users)

    @staticmethod
    def play(life: Sequence[Callable[[], None]]) -> None:
        """Ask for all of it, one after the other."""
        for movement in life:
            with suppress(Conflict):  # a hold that comes late
                movement()

    @staticmethod
    def life_of_a_packet(
        payments: Payments, dice: random.Random, users: Sequence[UserId], expected: dict[UserId, int]
    ) -> list[Callable[[], None]]:
        """What is asked for in the life of a packet, with repeats that come at once or late; `expected` is told what it
        comes to."""
        sender = dice.choice(users)
        packet = new_packet(sender)
        shares = [dice.randint(1, 3) for _ in range(4)]
        total = sum(shares)
        hold = partial(payments.hold, packet, sender, total)
        if dice.random() < 0.3:
            steps = [hold, partial(payments.release, packet, sender, total)]
            dice.shuffle(steps)
        else:
            claimers = dice.sample(users, dice.randint(0, len(shares)))
            gifts = [partial(payments.pay, packet, n, user, shares[n]) for n, user in enumerate(claimers)]
            rest = sum(shares[len(claimers) :])
            if rest:
                gifts.append(partial(payments.refund, packet, sender, rest))
            dice.shuffle(gifts)
            steps = [hold, *gifts]
            expected[sender] -= total - rest
            for n, user in enumerate(claimers):
                expected[user] += shares[n]
        life: list[Callable[[], None]] = []
        for n, step in enumerate(steps):
            life += [step] * dice.randint(1, 2)
            life += dice.sample(steps[: n + 1], dice.randint(0, min(2, n + 1)))
        return life

    @staticmethod
    def give(scene: Scene, user: UserId, amount: int) -> None:
        """Let somebody have money of somebody else's."""
        donor = new_user()
        packet = new_packet(donor)
        scene.payments.hold(packet, donor, amount)
        scene.payments.pay(packet, 0, user, amount)
