"""The MCP server for agents, at `/mcp`."""
