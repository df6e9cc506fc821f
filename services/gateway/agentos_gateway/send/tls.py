"""The TLS of outbound connections."""

import ssl
from pathlib import Path


def client_context(more_authorities: Path | None = None) -> ssl.SSLContext:
    """Verifies certificate and host name, from TLS 1.2 on, HTTP/1.1 only.

    Not ``ssl.create_default_context``: that writes session keys to a file where SSLKEYLOGFILE says so.

    Args:
        more_authorities: a PEM file of authorities trusted beside those of the system.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if more_authorities is not None:
        context.load_verify_locations(more_authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context
