"""One owner per data folder; everyone else on the machine reaches the memory through it.

The first process to lock the folder opens the engine and listens on a local socket that only its user can open; the
others call the same methods over that socket. When the owner goes, another takes over, and calls that had no answer
are sent again under the same request id.
"""

from soma_mcp.sharing.shared import SharedSoma

__all__ = ["SharedSoma"]
