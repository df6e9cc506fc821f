"""The vault: secrets that agents name and never hold.

Values are sealed in the gateway's own tables, put into requests at the last moment, and taken out of what comes back.
They are in no event, log or error.
"""

from agentos_gateway.vault.keys import KeyProblem, KeyRing, open_ring
from agentos_gateway.vault.vault import Refused, Vault

__all__ = ["KeyProblem", "KeyRing", "Refused", "Vault", "open_ring"]
