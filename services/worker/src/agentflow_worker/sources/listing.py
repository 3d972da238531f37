"""A list of files. A reply has one page of it. Pure."""

from __future__ import annotations

import bisect
import operator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agentflow_common import ids, rpc

PAGE_MAX: Final = 1_000
_name_of = operator.attrgetter("name")


@dataclass(slots=True)
class Listing:
    """The files that have settled."""

    now_ms: int
    settle_ms: int
    files: list[rpc.ListedFile] = field(default_factory=list)
    unsettled: int = 0
    unreadable: int = 0

    def add(self, file: rpc.ListedFile) -> None:
        """Adds a file, unless it is still changing or its name can't be sent."""
        try:
            file.name.encode()
        except UnicodeEncodeError:
            self.unreadable += 1
            return
        if file.changed_ms > self.now_ms - self.settle_ms:
            self.unsettled += 1
        else:
            self.files.append(file)

    def page(self, request: rpc.ListFilesRequest) -> rpc.ListFilesReply:
        """Returns the files after `after`; none if the reply with the digest `known` had all of them."""
        self.files.sort(key=_name_of)
        text = msgspec.json.encode([[file.name, file.etag] for file in self.files])
        reply = rpc.ListFilesReply(digest=ids.digest(text)[:32], unsettled=self.unsettled, unreadable=self.unreadable)
        if request.known == reply.digest:
            return reply
        start = bisect.bisect_right(self.files, request.after, key=_name_of) if request.after else 0
        end = start + min(max(request.limit, 1), PAGE_MAX)
        return msgspec.structs.replace(reply, files=tuple(self.files[start:end]), more=end < len(self.files))
