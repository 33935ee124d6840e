"""The control: a bare MCP server on stdio with one tool that does nothing."""

from mcp.server import MCPServer

server = MCPServer("noop")


@server.tool()
def noop(text: str) -> str:
    """Give the text back."""
    return text


if __name__ == "__main__":
    server.run()
