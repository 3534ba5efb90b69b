"""The MCP server `postroom mcp`: the routes of the API as tools for agents. It needs
`postroom[mcp]`."""
