"""Content codings, undone in pieces of bounded size.

A decoder never holds more than one piece, however much a few bytes unfold to; who counts the pieces can stop at any.
"""

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped]

PIECE: Final = 64 * 1024
_RATIO_COUNTS_FROM: Final = 1024 * 1024
_EMPTY_STEPS: Final = 1000
_MEMBERS: Final = 10_000


class CodingProblem(Exception):
    """A body that cannot be decoded. Codes: ``coding_unsupported``, ``coding_broken``, ``decoded_too_large``,
    ``decoded_ratio``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class _Unfolding(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def ended(self) -> bool:
        """Whether the body may end here."""
        ...


class Decoder:
    """One body.

    Args:
        coding: the value of Content-Encoding: ``gzip``, ``deflate``, ``br``, or ``identity``.
        most: bytes that may come out.
        ratio: how many times what went in may come out, once it is over a mebibyte.

    Raises:
        CodingProblem: the coding is not known; several of them are not undone.
    """

    def __init__(self, coding: str, *, most: int, ratio: int) -> None:
        self._inner = _unfolding(coding.strip().lower())
        self._most = most
        self._ratio = ratio
        self.taken = 0
        self.given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What this piece of the body unfolds to, in pieces of about 64 KiB, made as they are asked for.

        Raises:
            CodingProblem: it is broken, or unfolds to too much.
        """
        self.taken += len(data)
        try:
            for piece in self._inner.feed(data):
                self.given += len(piece)
                if self.given > self._most:
                    raise CodingProblem("decoded_too_large", f"the decoded body is over {self._most} bytes")
                if self.given > _RATIO_COUNTS_FROM and self.given > self._ratio * self.taken:
                    raise CodingProblem("decoded_ratio", f"the body unfolds to over {self._ratio} times its size")
                yield piece
        except (zlib.error, brotli.error) as error:
            raise CodingProblem("coding_broken", "the body is not what its Content-Encoding says") from error

    def end(self) -> None:
        """The body is over.

        Raises:
            CodingProblem: it was cut short.
        """
        if self.taken and not self._inner.ended():
            raise CodingProblem("coding_broken", "the encoded body ends in its middle")


def _unfolding(coding: str) -> _Unfolding:
    match coding:
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Zlib(gzip=True)
        case "deflate":
            return _Zlib(gzip=False)
        case "br":
            return _Brotli()
        case _:
            raise CodingProblem("coding_unsupported", "the answer's Content-Encoding is not one that was asked for")


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def ended(self) -> bool:
        return True


class _Zlib:
    """``gzip``, also of several members, or ``deflate``, which servers send with and without the zlib wrapper."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._begun = gzip
        self._start = b""
        self._members = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun:
            self._start += data
            if len(self._start) < 2:
                return
            data, self._start = self._start, b""
            wrapped = data[0] & 15 == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
            self._begun = True
        for start in range(0, len(data), PIECE):
            yield from self._unfold(data[start : start + PIECE])

    def _unfold(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._members += 1
                if not self._gzip or self._members > _MEMBERS:
                    raise zlib.error("data after the end")
                self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            piece = self._stream.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        # What did not fit into the last piece may still be inside.
        while not self._stream.eof and (piece := self._stream.decompress(b"", PIECE)):
            yield piece

    def ended(self) -> bool:
        return self._begun and self._stream.eof


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), PIECE):
            piece = self._stream.process(data[start : start + PIECE], output_buffer_limit=PIECE)
            empty = 0
            while piece or not self._stream.can_accept_more_data():
                # The library holds back input while output waits; a step without either would be for ever.
                empty = 0 if piece else empty + 1
                if empty > _EMPTY_STEPS:
                    raise brotli.error("no progress")
                if piece:
                    yield piece
                piece = self._stream.process(b"", output_buffer_limit=PIECE)

    def ended(self) -> bool:
        return bool(self._stream.is_finished())
