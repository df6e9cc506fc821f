"""Data loss prevention: secrets are found and replaced before an event is hashed and stored.

Pure. Detects by shape only, so it finds what looks like a known kind of key; it is a safety net, not a permission.
"""

from agentos_shared.dlp.scanner import SCANNER_VERSION, Match, Scan, redact_text, scan, suspicious

__all__ = ["SCANNER_VERSION", "Match", "Scan", "redact_text", "scan", "suspicious"]
