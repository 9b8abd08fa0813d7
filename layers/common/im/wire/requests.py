"""The data of every operation, as pydantic models. Unknown fields are ignored: newer clients may send more."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeVar
from unicodedata import category

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from im.domain.errors import BadRequest
from im.domain.red_packet import MAX_GREETING
from im.wire.frames import dumps

UserIdText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}\z")]
SeqNumber = Annotated[int, Field(ge=0, le=2**53 - 1)]
EntrySeq = Annotated[int, Field(ge=1, le=2**53 - 1)]


class Data(BaseModel):
    """What all share: nothing is converted ("5" is no number), nothing changes after it was checked."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    def _exactly_one(self, one: str, other: str) -> Self:
        """This, when one of the two fields is there. Raises ValueError."""
        if (getattr(self, one) is None) == (getattr(self, other) is None):
            raise ValueError(f"needs exactly one of {one} and {other}")
        return self


class Logout(Data):
    """connect.logout"""

    devices: Literal["this", "all"] = "this"


CmidText = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Address(Data):
    """`conv`, or `to` for the direct conversation with a user."""

    conv: str | None = None
    to: UserIdText | None = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        return self._exactly_one("conv", "to")


class Send(Address):
    """message.send"""

    cmid: CmidText
    kind: Literal["text", "custom"]
    body: dict[str, Any]
    mentions: Annotated[list[str], Field(max_length=50)] = []
    reply_to: EntrySeq | None = None


MAX_FORWARDED: Final = 30


class Forward(Address):
    """message.forward"""

    cmid: CmidText
    source: str
    seqs: Annotated[list[EntrySeq], Field(min_length=1, max_length=MAX_FORWARDED)]
    title: Annotated[str, StringConstraints(max_length=100)] = ""


MAX_EMOJI_BYTES: Final = 48
NO_EMOJI: Final = {"Cc", "Zs", "Zl", "Zp"}
"""Controls and separators, as Unicode names its categories."""


def _emoji(text: str) -> str:
    # Not str.isprintable: what joins composed emoji is a format character.
    if len(text.encode()) > MAX_EMOJI_BYTES or any(c in '"\\' or category(c) in NO_EMOJI for c in text):
        raise ValueError(f"1 to {MAX_EMOJI_BYTES} bytes without spaces, quotes and control characters")
    return text


Emoji = Annotated[str, StringConstraints(min_length=1), AfterValidator(_emoji)]


class Target(Data):
    """One message that is to change."""

    conv: str
    seq: EntrySeq
    cmid: CmidText | None = None


class Edit(Target):
    """message.edit"""

    body: dict[str, Any]


class Recall(Target):
    """message.recall"""


class React(Target):
    """message.react"""

    emoji: Emoji
    on: bool


class Pin(Target):
    """message.pin"""

    on: bool


class Delete(Data):
    """message.delete: some entries, or all up to one."""

    conv: str
    seqs: Annotated[list[EntrySeq], Field(min_length=1, max_length=100)] | None = None
    up_to: EntrySeq | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        return self._exactly_one("seqs", "up_to")


class TextBody(Data):
    """The body of a `text`."""

    text: Annotated[str, StringConstraints(min_length=1)]


class CustomBody(Data):
    """The body of a `custom`: whatever the product that embeds us wants."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    payload: Any = None


class Inbox(Data):
    """sync.inbox"""

    since: Annotated[str, StringConstraints(max_length=2_048)] | None = None
    cursor: Annotated[str, StringConstraints(max_length=8_192)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class Entries(Data):
    """sync.entries: ascending from `after`, or descending from `before`."""

    conv: str
    after: SeqNumber | None = None
    before: SeqNumber | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        return self._exactly_one("after", "before")


class ConvName(Data):
    """sync.deleted, pins"""

    conv: str


class Nothing(Data):
    """sync.read_all"""


class Receipts(Data):
    """sync.receipts"""

    conv: str
    seq: EntrySeq
    list: Literal["read", "unread"] | None = None
    cursor: UserIdText | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class RowSettings(Data):
    """sync.settings: what is there is set."""

    conv: str
    muted: bool | None = None
    pinned: bool | None = None
    draft: Annotated[str, StringConstraints(max_length=1000)] | None = None
    hidden: bool | None = None


class Privacy(Data):
    """sync.privacy: what is there is set."""

    receipts: bool | None = None
    presence: bool | None = None


class MessagePage(Data):
    """sync.reactions, edits: what belongs to one message, page by page."""

    conv: str
    seq: EntrySeq
    cursor: Annotated[str, StringConstraints(max_length=64)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class Mark(Data):
    """One conversation up to one seq."""

    conv: str
    seq: EntrySeq


class Ack(Data):
    """sync.ack"""

    acks: Annotated[list[Mark], Field(min_length=1, max_length=50)]


class Unread(Data):
    """sync.unread; `cursor` for those with more conversations than a frame holds."""

    cursor: Annotated[str, StringConstraints(max_length=512)] | None = None


class Presence(Data):
    """sync.presence"""

    users: Annotated[list[UserIdText], Field(min_length=1, max_length=100)]


class Typing(Data):
    """message.typing"""

    conv: str
    on: bool


MAX_CUSTOM_BYTES: Final = 2048

GroupText = Annotated[str, StringConstraints(min_length=1)]
Notice = Annotated[str, StringConstraints(max_length=1000)]
Avatar = Annotated[str, StringConstraints(max_length=512)]
JoinMode = Literal["open", "approval", "invite"]
Who = Literal["members", "admins"]
Time = Annotated[int, Field(ge=0, le=2**53 - 1)]


def _small(custom: dict[str, Any]) -> dict[str, Any]:
    size = len(dumps(custom).encode())
    if size > MAX_CUSTOM_BYTES:
        raise ValueError(f"{size} bytes of JSON are above the limit of {MAX_CUSTOM_BYTES}")
    return custom


Custom = Annotated[dict[str, Any], AfterValidator(_small)]
"""Whatever the product that embeds us wants to keep with a group."""


class GroupCreate(Data):
    """group.create"""

    gid: UserIdText | None = None
    name: GroupText
    notice: Notice = ""
    avatar: Avatar = ""
    custom: Custom = {}
    members: list[UserIdText] = []
    join_mode: JoinMode = "invite"
    history: bool = False
    who_invites: Who = "members"
    who_mentions_all: Who = "admins"


class GroupUpdate(Data):
    """group.update: the fields that are there change."""

    conv: str
    name: GroupText | None = None
    notice: Notice | None = None
    avatar: Avatar | None = None
    custom: Custom | None = None
    history: bool | None = None
    join_mode: JoinMode | None = None
    who_invites: Who | None = None
    who_mentions_all: Who | None = None


class GroupName(Data):
    """group.info, leave, dissolve"""

    conv: str


class GroupPage(Data):
    """group.members, requests: pages by user id."""

    conv: str
    cursor: UserIdText | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class GroupsPage(Data):
    """group.mine"""

    cursor: Annotated[str, StringConstraints(max_length=128)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class GroupUsers(Data):
    """group.invite, remove"""

    conv: str
    users: Annotated[list[UserIdText], Field(min_length=1)]


class GroupUser(Data):
    """group.transfer"""

    conv: str
    user: UserIdText


class GroupJoin(Data):
    """group.join"""

    conv: str
    note: Annotated[str, StringConstraints(max_length=200)] = ""


class GroupDecide(GroupUser):
    """group.decide"""

    accept: bool


class GroupRole(GroupUser):
    """group.role"""

    role: Literal["admin", "member"]


class GroupMute(Data):
    """group.mute: one member, or all but the owner and the admins."""

    conv: str
    user: UserIdText | None = None
    until: Time


MAX_MONEY: Final = 2**53 - 1
"""JavaScript holds no larger whole number."""

PacketText = Annotated[str, StringConstraints(pattern=r"^rp[a-z2-7]{26}\z")]
PageKey = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class PacketCreate(Data):
    """redpacket.create"""

    conv: str
    cmid: CmidText
    kind: Literal["lucky", "equal", "direct"]
    total: Annotated[int, Field(ge=1, le=MAX_MONEY)]
    count: Annotated[int, Field(ge=1, le=MAX_MONEY)] | None = None
    greeting: Annotated[str, StringConstraints(max_length=MAX_GREETING)] = ""
    to: UserIdText | None = None


class PacketName(Data):
    """redpacket.claim"""

    packet: PacketText


class PacketPage(PacketName):
    """redpacket.detail: the claims in pages."""

    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}\z")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class OwnPackets(Data):
    """redpacket.mine"""

    which: Literal["sent", "received"]
    cursor: PageKey | None = None
    limit: Annotated[int, Field(ge=1, le=50)] = 50


class LedgerPage(Data):
    """redpacket.ledger"""

    cursor: PageKey | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


D = TypeVar("D", bound=Data)


def parse(model: type[D], data: object, path: str = "data") -> D:
    """`data` as a `model`. Raises BadRequest naming the first offending field below `path`."""
    try:
        return model.model_validate(data)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join([path, *(str(part) for part in first["loc"])])
        raise BadRequest(where, first["msg"]) from e
