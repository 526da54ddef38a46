"""Default settings of `dev` and `demo`, and the environment of the processes that they start."""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from hookkeeper.cli.console import Failed
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.temporal_server import is_port_free
from hookkeeper.settings import Settings

LOCALHOST = "127.0.0.1"
LOOPBACK = "127.0.0.0/8,::1/128"


@dataclass(frozen=True, slots=True)
class Ports:
    api: int = 8080
    temporal: int = 7233
    ui: int = 8233


def free_ports() -> Ports:
    """Return the usual ports, or the next free ones."""
    usual = Ports()
    for n in range(100):
        ports = Ports(usual.api + n, usual.temporal + n, usual.ui + n)
        if all(is_port_free(LOCALHOST, port) for port in (ports.api, ports.temporal, ports.ui)):
            return ports
    raise Failed(f"no free ports above {usual.api}, {usual.temporal} and {usual.ui}")


def settings_for(said: Settings, data: DataDir, host: str, ports: Ports, send_emails: bool, encrypt: bool) -> Settings:
    """Return the settings of the environment, completed by the defaults of `dev`."""
    if said.admin_key is None and not _is_loopback(host):
        raise Failed(f"set HOOKKEEPER_ADMIN_KEY to listen on {host}, because other machines can reach it")
    defaults: dict[str, object] = {
        "database_url": data.database_url,
        "admin_key": data.admin_key(),
        "allowed_networks": LOOPBACK,
        "email_capture_dir": data.emails,
        "public_url": url(host, ports),
        "temporal_ui_url": f"http://{LOCALHOST}:{ports.ui}",
    }
    given = {name: getattr(said, name) for name in said.model_fields_set}
    if said.encryption_keys is None:
        given["encryption_keys"] = data.encryption_keys(make=encrypt)
    ours: dict[str, object] = {"host": host, "port": ports.api}
    if not send_emails:
        ours |= {"sendgrid_api_key": None, "smtp_url": None}
    return Settings.model_validate(defaults | given | ours)


def encrypted_by(said: Settings, settings: Settings, data: DataDir) -> str | None:
    """Return the source of the keys."""
    if settings.encryption_keys is None:
        return None
    return "HOOKKEEPER_ENCRYPTION_KEYS" if said.encryption_keys else str(data.key_file)


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
    ours = {
        "DATABASE_URL": settings.database_url,
        "ADMIN_KEY": settings.admin_key.get_secret_value(),
        "ENCRYPTION_KEYS": _secret(settings.encryption_keys),
        "ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "EMAIL_CAPTURE_DIR": str(settings.email_capture_dir),
        "SENDGRID_API_KEY": _secret(settings.sendgrid_api_key),
        "SMTP_URL": _secret(settings.smtp_url),
        "PUBLIC_URL": settings.public_url,
        "TEMPORAL_UI_URL": settings.temporal_ui_url or "",
        "DEPLOYMENT_VERSION": "",  # one worker: there is nothing to switch
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
    return {f"HOOKKEEPER_{name}": value for name, value in ours.items()} | temporal


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
