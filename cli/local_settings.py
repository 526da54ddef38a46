"""Default settings of `dev` and `demo`."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from cli.console import Failed
from cli.datadir import DataDir
from cli.ports import LOCALHOST, Ports
from hookkeeper.settings import Settings

LOOPBACK = "127.0.0.0/8,::1/128"


def settings_for(
    configured: Settings, data: DataDir, host: str, ports: Ports, send_emails: bool, encrypt: bool
) -> Settings:
    """Return the settings of the environment, completed by the defaults of `dev`."""
    if configured.admin_key is None and not _is_loopback(host):
        raise Failed(f"set HOOKKEEPER_ADMIN_KEY to listen on {host}, because other machines can reach it")
    defaults: dict[str, object] = {
        "database_url": data.database_url,
        "admin_key": data.admin_key(),
        "allowed_networks": LOOPBACK,
        "email_capture_dir": data.emails,
        "public_url": url(host, ports),
        "temporal_ui_url": f"http://{LOCALHOST}:{ports.ui}",
    }
    explicit = {name: getattr(configured, name) for name in configured.model_fields_set}
    if configured.encryption_keys is None:
        explicit["encryption_keys"] = data.encryption_keys(make=encrypt)
    fixed: dict[str, object] = {
        "host": host,
        "port": ports.api,
        "metrics_address": f"{LOCALHOST}:{ports.metrics}" if ports.metrics else None,
        "deployment_version": None,  # one worker: there is nothing to switch
    }
    if not send_emails:
        fixed |= {"sendgrid_api_key": None, "smtp_url": None}
    return Settings.model_validate(defaults | explicit | fixed)


def mail_provider(settings: Settings) -> str | None:
    """Describe the mail provider, without secrets."""
    if settings.sendgrid_api_key:
        return f"SendGrid ({settings.sendgrid_host})"
    if settings.smtp_url:
        return f"SMTP ({urlsplit(settings.smtp_url.get_secret_value()).hostname})"
    return None


def url(host: str, ports: Ports) -> str:
    """Return the URL of the API; for one that listens on all addresses, with the loopback address."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{ports.api}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
