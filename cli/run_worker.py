"""`hookkeeper worker`."""

import logs
import worker
from cli import temporal
from cli.console import Failed
from cli.processes import forever, keep_all_that_is, run, until_stopped
from cli.shutdown import ShutdownDeadline
from loop_monitor import monitored
from registry.store import Store
from settings import BadSetting, Settings


def run_worker(settings: Settings) -> None:
    """Work until told to stop, then finish the attempts that are under way."""
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
            client = await temporal.connect(keyring)
            async with worker.running(client, store, settings):
                keep_all_that_is()
                try:
                    with monitored(settings.debug_event_loop):
                        await forever()
                finally:
                    deadline.begin()
    finally:
        await store.close()
