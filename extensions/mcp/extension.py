"""The MCP server as an extension."""

from api.extensions import Extension
from extensions.mcp.routes import router

EXTENSION = Extension(routers=(router,))
