"""A client for serverless-im: the wire protocol, a session that keeps its rules, and the command line `im`."""

from imclient.connection import Connection
from imclient.core.outputs import Source, State
from imclient.core.settings import Settings
from imclient.errors import (
    ConnectionLostError,
    ImClientError,
    NoReplyError,
    ReplyError,
    UnreachableError,
    UpgradeRefusedError,
)
from imclient.frames import Entry, Push
from imclient.ids import ConvId, UserId, direct_conversation
from imclient.session import Arrival, Sent, Session
from imclient.socket import Socket
from imclient.transcript import Gap, Transcript

__all__ = [
    "Arrival",
    "Connection",
    "ConnectionLostError",
    "ConvId",
    "Entry",
    "Gap",
    "ImClientError",
    "NoReplyError",
    "Push",
    "ReplyError",
    "Sent",
    "Session",
    "Settings",
    "Socket",
    "Source",
    "State",
    "Transcript",
    "UnreachableError",
    "UpgradeRefusedError",
    "UserId",
    "direct_conversation",
]

__version__ = "0.1.0"
