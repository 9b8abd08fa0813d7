"""The payment system, as far as red packets need one: a port.

The built-in wallet (store/wallets.py) is one, an external gateway (aws/payment_gateway.py) another; docs/redpacket.md
says what each must keep.
"""

from __future__ import annotations

from typing import Protocol

from im.domain.ids import UserId
from im.domain.red_packet import PacketId


class Payments(Protocol):
    """Moves money between users and packets, which hold it until somebody claims it.

    Each movement has a name, its idempotency key: made twice, it is made once. Amounts are whole numbers of the
    smallest unit of money, at least 1. All raise what im.aws.failures.may_pass knows when they could not be made, or
    nobody knows whether they were: whoever asks makes them again.
    """

    def check(self, sender: UserId, amount: int) -> None:
        """Raises InsufficientFunds when it is plain that `hold` would: nothing need be stored then. A payment system
        that cannot tell says nothing."""

    def hold(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Take the money of a packet from its sender. Named by the packet alone.

        Raises InsufficientFunds, and Conflict for a packet that was released before.
        """

    def pay(self, packet: PacketId, share: int, user: UserId, amount: int) -> None:
        """Give a share of a packet's money to who has claimed it. Named by the packet and the number of the share."""

    def refund(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Give back what nobody has claimed. Named by the packet."""

    def release(self, packet: PacketId, sender: UserId, amount: int) -> None:
        """Give back the money of a packet that never came to be, if it was taken; and see to it that it is not taken
        any more, by a `hold` that comes late. Named by the packet."""
