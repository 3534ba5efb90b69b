"""An attachment to send."""

import base64
import mimetypes
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from postroom.parameters import AttachmentContent, AttachmentContentId, AttachmentFilename, AttachmentType, words_of

UNKNOWN = "application/octet-stream"


def _words(hint: Any) -> Meta:
    return Meta(description=words_of(hint))


class NewAttachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attachment. Without `content_type`, its type is guessed from its name. An HTML text shows
    a picture with a `content_id` as `cid:<content_id>`."""

    filename: Annotated[str, _words(AttachmentFilename)]
    content: Annotated[bytes, _words(AttachmentContent)]
    content_type: Annotated[str, _words(AttachmentType)] | None = None
    content_id: Annotated[str, _words(AttachmentContentId)] | None = None

    @classmethod
    def of(cls, path: str | Path, content_type: str | None = None, content_id: str | None = None) -> "NewAttachment":
        """Reads a file. Raises OSError."""
        return cls(Path(path).name, Path(path).read_bytes(), content_type, content_id)

    def body(self) -> dict[str, str]:
        """The attachment as the API takes it."""
        kind = self.content_type or mimetypes.guess_type(self.filename)[0] or UNKNOWN
        found = {"filename": self.filename, "content_type": kind}
        found["content_base64"] = base64.b64encode(self.content).decode("ascii")
        return found | ({"content_id": self.content_id} if self.content_id else {})
