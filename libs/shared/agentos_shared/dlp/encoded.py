"""Encoded forms: how a piece of text looks inside base64, hexadecimal, URLs and JSON, and how to read it back.

A decoder gets the place where a known piece was seen in encoded form, finds the whole run around it and decodes that,
so that nothing is decoded on suspicion alone.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

#: What one run may decode to: a bound on work, and on what a bomb of zeros can do.
MAX_DECODED: Final = 1 << 20
#: How far a run is followed to either side of what was seen; a longer one is decoded and replaced around it alone.
MAX_RUN: Final = 8 << 10
GZIP: Final = b"\x1f\x8b\x08"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_\r\n"
_HEX: Final = b"0123456789abcdefABCDEF"
_URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%-._~+"
_JSON: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789\\-._~+/="
_BREAKS: Final = bytes.maketrans(b"-_", b"+/")
_UNICODE: Final = re.compile(rb"\\{1,2}u00([0-9a-fA-F]{2})")


class Run(NamedTuple):
    """An encoded run and what it says."""

    start: int
    end: int
    decoded: bytes


Decode = Callable[[bytes, int], Run | None]


class Variant(NamedTuple):
    """How a piece looks in an encoded form, and how to decode what is around it."""

    text: bytes
    decode: Decode


def base64_core(piece: bytes, offset: int, *, urlsafe: bool = False) -> tuple[bytes, int]:
    """What of a piece stays the same in base64, when it begins ``offset`` (0-2) bytes into a group of three.

    Returns:
        The characters that the piece alone determines, and the place of the first one in its group of four.
    """
    whole = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(bytes(offset) + piece)
    first = -(-offset * 8 // 6)
    return whole[first : (offset + len(piece)) * 8 // 6], first


def variants(piece: bytes, reach: int = MAX_RUN) -> Iterator[Variant]:
    """The encoded forms of a piece of at least three bytes.

    Args:
        reach: how far the run around it is decoded.
    """
    seen: set[bytes] = set()
    for offset in range(3):
        for urlsafe in (False, True):
            core, first = base64_core(piece, offset, urlsafe=urlsafe)
            if len(core) >= min(4, len(piece)) and core not in seen:
                seen.add(core)
                yield Variant(core, _base64_from(first, reach))
    for form in ("%02x", "%02X"):
        yield Variant("".join(form % byte for byte in piece).encode(), _hex_within(reach))
        yield Variant("".join(f"%{form % byte}" for byte in piece).encode(), _url)
        for escape in ("\\u00", "\\\\u00"):
            yield Variant("".join(f"{escape}{form % byte}" for byte in piece).encode(), _json)


def _around(raw: bytes, at: int, alphabet: bytes, reach: int = MAX_RUN) -> tuple[int, int]:
    before = raw[max(0, at - reach) : at]
    after = raw[at : at + reach]
    return at - (len(before) - len(before.rstrip(alphabet))), at + (len(after) - len(after.lstrip(alphabet)))


def _base64_from(first: int, reach: int) -> Decode:
    def decode(raw: bytes, at: int) -> Run | None:
        start, end = _around(raw, at, _BASE64, reach)
        before = raw[start:at].translate(_BREAKS, b"\r\n")
        # Groups are counted back from the piece, whatever stands glued before the run.
        skip = (len(before) - first) % 4
        text = before[skip:] + raw[at:end].translate(_BREAKS, b"\r\n")
        text = text[: len(text) - (len(text) % 4 == 1)]
        try:
            return Run(start, end + (raw[end : end + 2].count(b"=")), base64.b64decode(text + b"=" * (-len(text) % 4)))
        except binascii.Error:
            return None

    return decode


def _hex_within(reach: int) -> Decode:
    def decode(raw: bytes, at: int) -> Run | None:
        start, end = _around(raw, at, _HEX, reach)
        text = raw[start + (at - start) % 2 : end]
        return Run(start, end, bytes.fromhex(text[: len(text) // 2 * 2].decode()))

    return decode


def _url(raw: bytes, at: int) -> Run | None:
    start, end = _around(raw, at, _URL)
    return Run(start, end, unquote_to_bytes(raw[start:end]))


def _json(raw: bytes, at: int) -> Run | None:
    start, end = _around(raw, at, _JSON)
    return Run(start, end, _UNICODE.sub(lambda match: bytes.fromhex(match.group(1).decode()), raw[start:end]))


def gunzip(raw: bytes, at: int) -> Run | None:
    """A gzip member, as far as it can be read."""
    stream = zlib.decompressobj(wbits=31)
    try:
        decoded = stream.decompress(raw[at:], MAX_DECODED)
    except zlib.error:
        return None
    return Run(at, len(raw) - len(stream.unused_data) - len(stream.unconsumed_tail), decoded) if decoded else None
