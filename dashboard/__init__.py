"""The dashboard: pages for operators and, with a tenant's key, for customers."""

from dashboard import (
    doctor,
    event,
    event_types,
    exchange,
    inbox,
    limits,
    lists,
    login,
    look,
    overview,
    recoveries,
    webhook,
    webhook_form,
    webhook_receiver,
    webhook_settings,
)

ROUTERS = (
    login.router,
    look.router,
    login.logo_router,
    overview.router,
    limits.router,
    doctor.router,
    event_types.router,
    inbox.router,
    inbox.address_router,
    event.router,
    exchange.router,
    webhook_form.router,
    webhook.router,
    webhook_receiver.router,
    webhook_settings.router,
    lists.router,
    recoveries.router,
)
"""`/webhooks/new` comes before `/webhooks/{webhook_id}`, and `POST /webhooks/{webhook_id}/{command}` last."""
