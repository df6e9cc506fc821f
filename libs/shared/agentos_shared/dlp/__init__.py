"""Data loss prevention: secrets are found and replaced, in events and in what passes the gateway.

Pure. :func:`scan` looks at an event's data and :class:`Stream` at bytes that flow; both find what looks like a known
kind of key, plainly or encoded. :class:`Exact` finds values that are known. A safety net, not a permission.
"""

from agentos_shared.dlp.detect import DETECTOR, Detector, Find
from agentos_shared.dlp.exact import Exact
from agentos_shared.dlp.scanner import (
    REDACTED,
    SCANNER_VERSION,
    Match,
    Scan,
    cut,
    preview,
    redact_text,
    scan,
    suspicious,
)
from agentos_shared.dlp.stream import Stream

__all__ = [
    "DETECTOR", "REDACTED", "SCANNER_VERSION", "Detector", "Exact", "Find", "Match", "Scan", "Stream",
    "cut", "preview", "redact_text", "scan", "suspicious",
]  # fmt: skip
