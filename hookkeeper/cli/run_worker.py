"""`hookkeeper worker`."""

import worker
from hookkeeper import logs
from hookkeeper.cli.console import Failed
from hookkeeper.cli.processes import forever, freeze_objects, run, until_stopped
from hookkeeper.cli.shutdown import ShutdownDeadline
from hookkeeper.cli.startup import connect, exporting_traces, open_metrics, read_settings
from hookkeeper.loop_monitor import monitored
from hookkeeper.registry.store import Store
from hookkeeper.settings import BadSetting, Settings


def run_worker() -> None:
    """Work until stopped, then finish the attempts in progress."""
    settings = read_settings()
    logs.configure(settings.log_format)
    try:
        run(_work(settings))
    except BadSetting as error:
        raise Failed(str(error)) from None


async def _work(settings: Settings) -> None:
    deadline = ShutdownDeadline(settings.shutdown_timeout)
    keyring = settings.keyring
    store = Store.connect(settings.database_url, keyring)
    try:
        async with until_stopped(deadline=deadline):
            traces = exporting_traces(settings.otlp_endpoint, "worker")
            metrics = open_metrics(settings.metrics_address)
            client = await connect(keyring, metrics.runtime)
            async with (
                traces,
                metrics.serving(),
                worker.running(client, store, settings),
            ):
                freeze_objects()
                try:
                    with monitored(settings.debug_event_loop):
                        await forever()
                finally:
                    deadline.begin()
    finally:
        await store.close()
