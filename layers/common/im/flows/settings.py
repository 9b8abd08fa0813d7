"""What a user sets: how one conversation is shown to them, and what others are told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from im.domain.conversation import parse_conversation
from im.domain.errors import BadRequest
from im.domain.inbox import Hideable
from im.flows.access import require_visible
from im.flows.ports import Caller, Clock, Pusher
from im.flows.pull import Puller, privacy_data
from im.flows.push_to import push_to_users
from im.store.connections import ConnectionStore
from im.store.groups import GroupStore
from im.store.inbox import InboxStore
from im.wire.entries import row_data
from im.wire.frames import encode_push
from im.wire.requests import Privacy, RowSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """The use cases of sync.settings and sync.privacy."""

    groups: GroupStore
    inbox: InboxStore
    puller: Puller
    connections: ConnectionStore
    pusher: Pusher
    clock: Clock

    def set_row(self, caller: Caller, request: RowSettings) -> Mapping[str, Any]:
        """Mute, pin, hide a conversation, or keep a draft for it; tell the user's other devices.

        1 W; 2 R and ½ R, 1 R more in a group and 2 R in a large one; 2 R more to hide. A conversation is hidden up to
        what the server knows before the write: a message that comes meanwhile shows it again.
        """
        conversation = parse_conversation(request.conv)
        conv, user = conversation.conv, caller.user
        require_visible(self.groups, conversation, user)
        sets: dict[str, bool | str | int | None] = {
            name: value for name in ("muted", "pinned", "draft") if (value := getattr(request, name)) is not None
        }
        if request.hidden is not None:
            row = self.inbox.row(user, conv) if request.hidden else None
            sets["hidden_n"] = (row.last_n if row is not None else 0) if request.hidden else None
        if not sets:
            raise BadRequest("data", "names nothing to set")
        now = self.clock()
        self.inbox.set_row(user, conv, sets, now)
        row = self.inbox.row(user, conv)
        if row is None:
            raise RuntimeError("a row that was just written is not there")
        data = row_data(row, self.puller.last_entries(user, [row]).get(conv))
        self._tell(caller, "row", data, now)
        return data

    def set_privacy(self, caller: Caller, request: Privacy) -> Mapping[str, Any]:
        """Show or do not show others what the caller has read, and whether they are online; tell their other devices.

        1 W for each that is named; 1 R when none is.
        """
        shows = {name: value for name in get_args(Hideable) if (value := getattr(request, name)) is not None}
        hides = self.inbox.hides(caller.user)
        for name, shown in shows.items():
            hides = self.inbox.set_hidden(caller.user, name, hidden=not shown)
        data = privacy_data(hides)
        if shows:
            self._tell(caller, "privacy", data, self.clock())
        return data

    def _tell(self, caller: Caller, push: str, data: Mapping[str, Any], now: int) -> None:
        frames = {caller.user: [encode_push(push, data)]}
        push_to_users(self.pusher, self.connections, frames, now, skip=caller.connection)
