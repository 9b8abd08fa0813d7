"""A client for serverless-im: the wire protocol, a client that keeps its rules, and the command line `im`."""

from imclient.client import Client, Conversation, DiscardedError, Outgoing, TokenProvider
from imclient.connection import Connection
from imclient.core.outputs import Source, State
from imclient.core.settings import Settings
from imclient.errors import (
    ConnectionLostError,
    FrameTooLargeError,
    ImClientError,
    NoReplyError,
    ReplyError,
    UnreachableError,
    UpgradeRefusedError,
)
from imclient.events import (
    ConnectionChanged,
    ConversationChanged,
    DeliveredToPeer,
    Event,
    EventsMissed,
    EventStream,
    HistoryChanged,
    JoinRequested,
    Kicked,
    MessageCame,
    MessageChanged,
    MessageDiscarded,
    MessageFailed,
    MessageQueued,
    MessageSent,
    OtherPush,
    PrivacyChanged,
    ReadByPeer,
    RedPacketChanged,
    StoreFailed,
    Typing,
)
from imclient.frames import Entry, Push
from imclient.ids import ConvId, UserId, direct_conversation
from imclient.operations import pages
from imclient.session import Arrival, Sent, Session
from imclient.socket import Socket
from imclient.store import MemoryStore, SqliteStore, Store, StoreError
from imclient.timeline import Message, Quote, Reaction, timeline
from imclient.transcript import Gap, Transcript

__all__ = [
    "Arrival",
    "Client",
    "Connection",
    "ConnectionChanged",
    "ConnectionLostError",
    "ConvId",
    "Conversation",
    "ConversationChanged",
    "DeliveredToPeer",
    "DiscardedError",
    "Entry",
    "Event",
    "EventStream",
    "EventsMissed",
    "FrameTooLargeError",
    "Gap",
    "HistoryChanged",
    "ImClientError",
    "JoinRequested",
    "Kicked",
    "MemoryStore",
    "Message",
    "MessageCame",
    "MessageChanged",
    "MessageDiscarded",
    "MessageFailed",
    "MessageQueued",
    "MessageSent",
    "NoReplyError",
    "OtherPush",
    "Outgoing",
    "PrivacyChanged",
    "Push",
    "Quote",
    "Reaction",
    "ReadByPeer",
    "RedPacketChanged",
    "ReplyError",
    "Sent",
    "Session",
    "Settings",
    "Socket",
    "Source",
    "SqliteStore",
    "State",
    "Store",
    "StoreError",
    "StoreFailed",
    "TokenProvider",
    "Transcript",
    "Typing",
    "UnreachableError",
    "UpgradeRefusedError",
    "UserId",
    "direct_conversation",
    "pages",
    "timeline",
]

__version__ = "0.1.0"
