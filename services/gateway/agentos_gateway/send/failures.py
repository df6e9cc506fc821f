"""How a send ends without a whole answer."""

from typing import Literal

Phase = Literal["dns", "connect", "tls", "request", "first_byte", "body"]


class RequestRefused(ValueError):
    """A request that is not sent, for its form. Nothing left this machine.

    Codes: ``bad_method``, ``bad_header``, ``too_many_headers``, ``headers_too_large``, ``hop_by_hop_header``,
    ``host_mismatch``, ``length_mismatch``, ``bad_upgrade``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class SendFailed(Exception):
    """No whole answer came.

    Only where ``bytes_sent`` is false is the failure certain: the other side has seen nothing. After that it may have
    acted on what it got, so the outcome is unknown, whatever the code says.

    Codes by phase:
        connect: ``connect_timeout``, ``connect_refused``, ``connect_unreachable``, ``connect_reset``,
            ``connect_failed``, ``too_many_connections``, ``cut`` (somebody stopped it).
        tls: ``tls_timeout``, ``tls_certificate``, ``tls_failed``.
        request: ``write_timeout``, ``request_body_failed`` (the caller's iterator), ``length_mismatch``.
        first_byte: ``first_byte_timeout``; body: ``between_bytes_timeout``; both: ``whole_timeout``,
            ``connection_reset``, ``connection_closed``, ``protocol_error``, ``cut``.
        first_byte: ``too_many_headers``, ``headers_too_large``, ``too_many_interim``.
        body: ``response_too_large``, ``trailers_too_large``, ``framing_too_large``, ``decoded_too_large``,
            ``decoded_ratio``, ``coding_unsupported``, ``coding_broken``.
    """

    def __init__(self, phase: Phase, code: str, detail: str, *, bytes_sent: bool) -> None:
        super().__init__(f"{phase}/{code}: {detail}")
        self.phase: Phase = phase
        self.code = code
        self.detail = detail
        self.bytes_sent = bytes_sent
