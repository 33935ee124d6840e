"""``python -m soma_mcp.cli``: the command `soma`."""

from soma_mcp.cli import main

main()
