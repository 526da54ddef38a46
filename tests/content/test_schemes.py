"""Services that may never be used: the list is held to what Apprise's plugins do."""

import ast
import warnings
from pathlib import Path
from typing import Any

import apprise
import pytest

from hookkeeper.content.apprise_services import NEVER

NO_HTTP = {"asyncio", "ctypes", "hid", "smtplib", "socket", "subprocess", "syslog"}


def _plugins() -> dict[str, set[Path]]:
    """Return each scheme of Apprise, and the files that its plugin is made of."""
    root = Path(apprise.__file__).parent
    library: Any = apprise
    manager = library.NotificationManager()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        manager.load_modules()
    plugins: dict[str, set[Path]] = {}
    for scheme in manager.schemas():
        modules = {base.__module__.split(".")[2] for base in manager[scheme].__mro__ if ".plugins." in base.__module__}
        files = [
            [root / "plugins" / f"{name}.py", *(root / "plugins" / name).rglob("*.py")] for name in modules - {"base"}
        ]
        plugins[scheme] = {file for several in files for file in several if file.exists()}
    return plugins


def _imports(file: Path) -> set[str]:
    """Return the modules that a file imports: other packages by their first name, Apprise's own by their last."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[-1 if node.level else 0])
    return names


def test_every_service_that_may_be_used_speaks_http_and_nothing_else() -> None:
    plugins = _plugins()
    assert len(plugins) > 200
    assert plugins.keys() >= NEVER - {"exec", "file", "http", "https", "local"}
    for scheme in plugins.keys() - NEVER:
        imported = set().union(*map(_imports, plugins[scheme]))
        assert "requests" in imported, f"{scheme} reaches its targets without HTTP"
        assert not imported & NO_HTTP, f"{scheme} has other ways than HTTP"


@pytest.mark.parametrize("scheme", ["mailto", "json", "form", "syslog", "macosx", "dbus", "mqtts", "http", "fcm"])
def test_services_that_may_never_be_used(scheme: str) -> None:
    assert scheme in NEVER
