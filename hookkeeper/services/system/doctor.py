"""What is wrong with an installation, seen from this machine and with its settings."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import make_url

from hookkeeper.addresses import EVERYWHERE, parse_networks
from hookkeeper.egress import http
from hookkeeper.egress.certificates import certificates_in_files, examine_server
from hookkeeper.egress.diagnosis import examine_name_servers, examine_networks, examine_proxy
from hookkeeper.egress.resolver import Lookups
from hookkeeper.findings import Check, Finding, run_checks, warning, well
from hookkeeper.registry import diagnosis as registry
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.services.system.settings import mail_provider
from hookkeeper.settings import Settings
from hookkeeper.temporal import diagnosis as temporal
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

TOTAL_TIMEOUT = 25.0
"""Seconds for a part with several steps. Each check of it has less."""


class Doctor:
    """Examines Temporal, the registry, and the ways out, all at once. It changes nothing."""

    def __init__(
        self,
        settings: Settings,
        temporal_address: str | None = None,
        now: Callable[[], datetime] = utc_now,
        gateway: Gateway | None = None,
    ) -> None:
        """`temporal_address`: that of a server of this machine, in place of `TEMPORAL_…`. `gateway`: the connection of
        this process, in place of a new one.
        """
        self._settings = settings
        self._temporal_address = temporal_address
        self._now = now
        self._gateway = gateway

    async def examine(self) -> list[Finding]:
        """Return all findings, also good ones, by subject. Ends within `TOTAL_TIMEOUT`, and raises nothing."""
        checks: dict[str, Check] = {
            "settings": self._admin_key,
            "temporal": self._temporal,
            "registry": self._registry,
            "name servers": self._name_servers,
            "private addresses": self._networks,
            "mail": self._mail,
            "certificates": self._certificates,
        }
        if self._settings.egress_proxy:
            checks["egress proxy"] = self._proxy
        return await run_checks(checks, TOTAL_TIMEOUT)

    async def _admin_key(self) -> Sequence[Finding]:
        if self._settings.admin_key is None:
            return warning("HOOKKEEPER_ADMIN_KEY is not set: `hookkeeper api` does not start", "set it")
        return well("valid")

    async def _temporal(self) -> Sequence[Finding]:
        client = self._gateway.client if self._gateway else None
        return await temporal.examine(self._settings, self._now, client=client, address=self._temporal_address)

    async def _registry(self) -> Sequence[Finding]:
        engine = open_engine(self._settings.database_url, self._settings.keyring)
        try:
            return await registry.examine(engine, self._now)
        finally:
            await engine.dispose()

    async def _name_servers(self) -> Sequence[Finding]:
        return await examine_name_servers(Lookups(self._settings.dns_servers))

    async def _networks(self) -> Sequence[Finding]:
        return examine_networks(parse_networks(self._settings.allowed_networks))

    async def _proxy(self) -> Sequence[Finding]:
        assert self._settings.egress_proxy
        return await examine_proxy(self._settings.egress_proxy.get_secret_value())

    async def _mail(self) -> Sequence[Finding]:
        proxy = self._settings.egress_proxy.get_secret_value() if self._settings.egress_proxy else None
        async with http.make_client(EVERYWHERE, proxy=proxy, lookups=Lookups(self._settings.dns_servers)) as client:
            provider = await asyncio.to_thread(mail_provider, self._settings, client)  # it imports a library
            return await provider.check(self._now())

    async def _certificates(self) -> Sequence[Finding]:
        now = self._now()
        found = [finding for each in certificates_in_files() for finding in each.examine(now)]
        if self._temporal_address is None:
            found += await temporal.examine_certificates(now)
        database = make_url(self._settings.database_url)
        if "ssl" in database.query and database.host and not database.host.startswith("/"):
            found += await examine_server("the registry", database.host, database.port or 5432, now, postgresql=True)
        public = urlsplit(self._settings.public_url)
        if public.scheme == "https" and public.hostname:
            found += await examine_server("HOOKKEEPER_PUBLIC_URL", public.hostname, public.port or 443, now)
        return found or well("none is in use")
