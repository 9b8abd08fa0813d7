"""Puts the functions of red packets together, as wiring.py does the others."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from im.aws import clients
from im.aws.dead_letters import DeadLetters
from im.aws.payment_gateway import HttpPaymentGateway
from im.aws.pusher import ConnectionPusher
from im.aws.queue import FanoutQueue
from im.aws.retries import Retries
from im.aws.secrets import RotatingSecret
from im.aws.settlement_queue import SettlementQueue
from im.domain.red_packet import PacketLimits
from im.flows.admission import Admissions
from im.flows.claims import Claims
from im.flows.expire import Expiry
from im.flows.packet_views import PacketViews
from im.flows.payments import Payments
from im.flows.red_packets import RedPackets
from im.flows.settle import Settlement
from im.runtime import wiring
from im.runtime.batches import Aside
from im.runtime.router import Router, operation
from im.runtime.settings import Settings
from im.store.connections import ConnectionStore
from im.store.conversations import ConversationStore
from im.store.groups import GroupStore
from im.store.packets import PacketStore
from im.store.wallets import WalletStore
from im.wire import requests

SETTLE_THREADS: Final = 8
"""Packets that are settled at once. What moves the money of one packet goes one after the other."""

EXPIRE_THREADS: Final = 8


def _clock() -> int:
    return wiring.now_ms()


def redpacket_router(settings: Settings) -> Router:
    """The route `redpacket`."""
    dynamodb, table = clients.dynamodb(), settings.text("CONVERSATION_TABLE")
    log, groups = ConversationStore(dynamodb, table), GroupStore(dynamodb, table)
    packets = PacketStore(dynamodb, settings.text("RED_PACKET_TABLE"))
    wallet = _wallet(settings, dynamodb)
    red_packets = RedPackets(
        log=log,
        groups=groups,
        packets=packets,
        admissions=Admissions(groups),
        payments=_payments(settings, wallet),
        queue=FanoutQueue(clients.sqs(), settings.text("EXPRESS_QUEUE_URL")),
        clock=_clock,
        limits=PacketLimits(
            shares=settings.number("MAX_RED_PACKET_SHARES"),
            amount=settings.number("MAX_RED_PACKET_AMOUNT"),
            life_ms=settings.number("RED_PACKET_LIFE_SECONDS") * 1000,
        ),
        below=secrets.randbelow,
    )
    claims = Claims(packets, groups, _clock)
    views = PacketViews(packets, groups, claims, wallet, _clock)
    return Router(
        "redpacket",
        {
            "create": operation(requests.PacketCreate, red_packets.create),
            "claim": operation(requests.PacketName, claims.claim),
            "detail": operation(requests.PacketPage, views.detail),
            "mine": operation(requests.OwnPackets, views.mine),
            "wallet": operation(requests.Nothing, lambda caller, _: views.balance(caller)),
            "ledger": operation(requests.LedgerPage, views.ledger),
        },
    )


def settlement(settings: Settings) -> tuple[Settlement, Aside]:
    """For the stream of the RedPacket table, and for the queue of packets that failed."""
    dynamodb, sqs = clients.dynamodb(), clients.sqs()
    queue = SettlementQueue(sqs, settings.text("SETTLEMENT_QUEUE_URL"))
    served = Settlement(
        packets=PacketStore(dynamodb, settings.text("RED_PACKET_TABLE")),
        payments=_payments(settings, _wallet(settings, dynamodb)),
        queue=queue,
        connections=ConnectionStore(dynamodb, settings.text("CONNECTION_TABLE")),
        pusher=ConnectionPusher(clients.connections(settings.text("CONNECTIONS_ENDPOINT"))),
        clock=_clock,
        threads=ThreadPoolExecutor(SETTLE_THREADS, thread_name_prefix="settle"),
        push_threads=ThreadPoolExecutor(clients.POOL, thread_name_prefix="push"),
    )
    dead = DeadLetters(sqs, settings.text("DEAD_LETTER_QUEUE_URL"), "settlement")
    return served, Aside(Retries(sqs, queue.url), dead)


def expiry(settings: Settings) -> Expiry:
    """For the clock."""
    packets = PacketStore(clients.dynamodb(), settings.text("RED_PACKET_TABLE"))
    return Expiry(packets, _clock, ThreadPoolExecutor(EXPIRE_THREADS, thread_name_prefix="expire"))


def _wallet(settings: Settings, dynamodb: Any) -> WalletStore | None:
    """The built-in wallet; None where an external payment system keeps the money."""
    if settings.optional("PAYMENT_GATEWAY_URL") is not None:
        return None
    return WalletStore(dynamodb, settings.text("WALLET_TABLE"), settings.number("NEW_WALLET_AMOUNT"), _clock)


def _payments(settings: Settings, wallet: WalletStore | None) -> Payments:
    if wallet is not None:
        return wallet
    secret = RotatingSecret(clients.secrets(), settings.text("PAYMENT_GATEWAY_SECRET_ID"), _clock)
    return HttpPaymentGateway(settings.text("PAYMENT_GATEWAY_URL"), secret, _clock)
