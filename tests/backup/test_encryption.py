"""Encrypted files: Debian's `age` can read them, and encryption uses a bounded amount of memory."""

import os
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from postroom.backup.encryption import CHUNK, HEADER_SIZE, NONCE, TAG, DecryptingReader, EncryptingWriter
from postroom.errors import BadBackup
from tests.harness.service import COMMAND
from tests.harness.terminal import typed_at_terminal

SECRET = "correct horse battery staple"


def encrypted(content: bytes) -> bytes:
    output = BytesIO()
    writer = EncryptingWriter(output, SECRET)
    writer.write(content)
    writer.finish()
    return output.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_the_ends_of_chunks(tmp_path: Path, size: int) -> None:
    """In age's format only a file without content has an empty last chunk."""
    content, file, plain = os.urandom(size), tmp_path / "encrypted", tmp_path / "plain"
    file.write_bytes(encrypted(content))
    typed_at_terminal(SECRET, "age", "-d", "-o", plain, file)
    assert (plain.read_bytes() if size else b"") == content  # age writes no file for empty content
    reader = DecryptingReader(BytesIO(file.read_bytes()), SECRET)
    assert reader.read(size + 1) == content
    assert reader.read(1) == b""


def test_whole_chunks_cannot_be_cut_moved_or_added() -> None:
    whole = encrypted(os.urandom(3 * CHUNK))
    at, size = HEADER_SIZE + NONCE, CHUNK + TAG
    head, one, two, three = whole[:at], whole[at : at + size], whole[at + size : -size], whole[-size:]
    assert DecryptingReader(BytesIO(head + one + two + three), SECRET).read(4 * CHUNK)
    for altered in (head + one + two, head + two + one + three, whole + three, head + two + three, head):
        with pytest.raises(BadBackup):
            DecryptingReader(BytesIO(altered), SECRET).read(4 * CHUNK)


def test_each_byte_of_the_header_counts() -> None:
    """Even the bits of base64 that decoders ignore."""
    whole = encrypted(b"x")
    for at in (40, 53, 56, 80, 100, 120, 148):
        with pytest.raises(BadBackup):
            DecryptingReader(BytesIO(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]), SECRET).read(1)


MEMORY = """
import hashlib, resource, sys
from pathlib import Path
from postroom.backup import archive
folder = Path(sys.argv[1])
for name in ("small", "large"):
    said = lambda _: None
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = archive.Manifest(1, "", 0, "sqlite", {}, {}, digest, False)
    with (folder / "backup").open("w+b") as file:
        archive.write(file, manifest, folder / name, None, "passphrase", said)
        file.seek(0)
        archive.read(file, "passphrase", None, said)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A backup of any size needs buffers of a few MiB."""
    (tmp_path / "small").write_bytes(os.urandom(1024))
    (tmp_path / "large").write_bytes(os.urandom(192 * 1024 * 1024))
    command = [str(COMMAND.with_name("python")), "-c", MEMORY, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    small, large = map(int, ended.stdout.split())
    assert large - small < 48 * 1024, "KiB"
