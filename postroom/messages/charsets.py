"""Bytes of a stranger as text, whatever character set they name."""

import re
from encodings.aliases import aliases

# Codecs of Python that take quadratic time or are no character set of mail.
NO_CHARSETS = {
    "base64_codec", "bz2_codec", "hex_codec", "idna", "mbcs", "punycode", "quopri_codec", "raw_unicode_escape",
    "rot_13", "undefined", "unicode_escape", "uu_codec", "zlib_codec",
}  # fmt: skip
KNOWN = {value: value for value in aliases.values()} | aliases
# As browsers do (encoding.spec.whatwg.org), the larger set is taken for the smaller one.
LARGER = {"ascii": "cp1252", "latin_1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"} | {
    "iso8859_9": "cp1254", "euc_kr": "cp949",
}  # fmt: skip
OTHER_NAMES = {"iso_8859_8_i": "iso8859_8", "x_sjis": "cp932", "x_gbk": "gb18030", "utf8mb4": "utf_8"}
_SEPARATORS = re.compile(r"[^A-Za-z0-9.]+")
# NUL has no place in text. A lone surrogate cannot be written as UTF-8.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


def decode(data: bytes, charset: str | None) -> str:
    """Returns the text. Bytes that the character set does not have become U+FFFD. Bytes without a
    known character set are UTF-8 if they can be, otherwise Windows-1252."""
    codec = _codec(charset)
    if codec in (None, "cp1252"):  # ASCII is often wrong where there are more than seven bits
        try:
            return clean(data.decode("utf-8"))
        except UnicodeDecodeError:
            codec = "cp1252"
    return clean(data.decode(codec or "utf-8", "replace"))


def clean(text: str) -> str:
    """Returns the text with U+FFFD in place of what is no text."""
    return _NOT_TEXT.sub("\ufffd", text)


def _codec(charset: str | None) -> str | None:
    """Returns the name of Python's codec. The name is looked up here because Python keeps every
    name that it was ever asked for."""
    if not charset or len(charset) > 60:
        return None
    name = _SEPARATORS.sub("_", charset.strip()).lower()
    codec = OTHER_NAMES.get(name) or KNOWN.get(name) or KNOWN.get(name.replace(".", "_"))
    return None if codec is None or codec in NO_CHARSETS else LARGER.get(codec, codec)
