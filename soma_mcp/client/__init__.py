"""The methods of Soma over HTTP: for Python users, for commands with SOMA_URL, and for the stdio bridge."""

from soma_mcp.client.asynchronous import AsyncSomaClient
from soma_mcp.client.remote import RemoteSoma, RemoteTools
from soma_mcp.client.shapes import Imported, Refused
from soma_mcp.client.sync import SomaClient

__all__ = ["AsyncSomaClient", "Imported", "Refused", "RemoteSoma", "RemoteTools", "SomaClient"]
