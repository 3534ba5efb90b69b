"""Copies of messages that are being read: small ones in memory, large ones in a file without a
name, which is mapped. So memory does not grow with the message, and no session waits for a slow
client.
"""

import tempfile
from pathlib import Path

from postroom.messages.imap_session import ImapSession
from postroom.messages.mapped_file import map_file
from postroom.messages.message_ids import ANY_UIDVALIDITY
from postroom.messages.missing import no_message
from postroom.messages.structure import Raw

PIECE_BYTES = 1024 * 1024


def copy(session: ImapSession, folder: Path, mailbox: str, uidvalidity: int, uid: int) -> Raw:
    """Returns a message, byte for byte as IMAP gives it. `folder` is where a file of a large
    message is made. Raises not_found, Lost, OSError."""
    missing = no_message("uid" if uidvalidity == ANY_UIDVALIDITY else "message_id")
    if uidvalidity not in (session.open(mailbox).uidvalidity, ANY_UIDVALIDITY):
        raise missing
    piece = session.piece(uid, 0, PIECE_BYTES)
    if piece is None:
        raise missing
    if len(piece) < PIECE_BYTES:
        return piece
    with tempfile.TemporaryFile(dir=folder) as file:
        size = 0
        while piece:
            file.write(piece)
            size += len(piece)
            piece = session.piece(uid, size, PIECE_BYTES) if len(piece) == PIECE_BYTES else b""
        if piece is None:  # expunged in the meantime
            raise missing
        return map_file(file)
