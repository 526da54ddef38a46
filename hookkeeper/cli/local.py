"""Default settings of `dev` and `demo`, and the environment of the processes that they start."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from hookkeeper.cli.console import Failed
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import LOCALHOST, Ports
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
        "inboxes": True,
        "public_url": url(host, ports),
        "temporal_ui_url": f"http://{LOCALHOST}:{ports.ui}",
    }
    explicit = {name: getattr(configured, name) for name in configured.model_fields_set}
    if configured.encryption_keys is None:
        explicit["encryption_keys"] = data.encryption_keys(make=encrypt)
    fixed: dict[str, object] = {"host": host, "port": ports.api}
    if not send_emails:
        fixed |= {"sendgrid_api_key": None, "smtp_url": None}
    return Settings.model_validate(defaults | explicit | fixed)


def encrypted_by(configured: Settings, settings: Settings, data: DataDir) -> str | None:
    """Return the source of the keys."""
    if settings.encryption_keys is None:
        return None
    return "HOOKKEEPER_ENCRYPTION_KEYS" if configured.encryption_keys else str(data.key_file)


def mail_provider(settings: Settings) -> str | None:
    """Describe the mail provider, without secrets."""
    if settings.sendgrid_api_key:
        return f"SendGrid ({settings.sendgrid_host})"
    if settings.smtp_url:
        return f"SMTP ({urlsplit(settings.smtp_url.get_secret_value()).hostname})"
    return None


def environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """Return the environment of a child. Temporal's own variables are replaced by those of the embedded server."""
    assert settings.admin_key is not None
    hookkeeper = {
        "DATABASE_URL": settings.database_url,
        "ADMIN_KEY": settings.admin_key.get_secret_value(),
        "ENCRYPTION_KEYS": _secret(settings.encryption_keys),
        "ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "EMAIL_CAPTURE_DIR": str(settings.email_capture_dir or ""),
        "INBOXES": str(settings.inboxes).lower(),
        "SENDGRID_API_KEY": _secret(settings.sendgrid_api_key),
        "SMTP_URL": _secret(settings.smtp_url),
        "PUBLIC_URL": settings.public_url,
        "TEMPORAL_UI_URL": settings.temporal_ui_url or "",
        "DEPLOYMENT_VERSION": "",  # one worker: there is nothing to switch
        "METRICS_ADDRESS": "",  # one for each process: see `metrics_address`
        "HOST": settings.host,
        "PORT": str(settings.port),
    }
    temporal = {
        "TEMPORAL_ADDRESS": f"{LOCALHOST}:{ports.temporal}",
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_PROFILE": "",
        "TEMPORAL_CONFIG_FILE": "/dev/null",
        "TEMPORAL_API_KEY": "",
        "TEMPORAL_TLS": "false",
    }
    return {f"HOOKKEEPER_{name}": value for name, value in hookkeeper.items()} | temporal


def metrics_address(process: str, ports: Ports) -> dict[str, str]:
    """Return the variable that lets a process serve its metrics, if it does."""
    port = ports.of_metrics.get(process)
    return {} if port is None else {"HOOKKEEPER_METRICS_ADDRESS": f"{LOCALHOST}:{port}"}


def metrics_urls(ports: Ports) -> tuple[str, ...]:
    return tuple(f"http://{LOCALHOST}:{port}/metrics" for port in ports.of_metrics.values())


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def url(host: str, ports: Ports) -> str:
    """Return the URL of the API; for one that listens on all addresses, with the loopback address."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{ports.api}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
