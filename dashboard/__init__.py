"""The dashboard: pages for operators and, with a tenant's key, for customers."""

from dashboard import (
    doctor,
    event,
    event_type_form,
    event_types,
    exchange,
    exports,
    inbox,
    limits,
    lists,
    login,
    look,
    overview,
    portal_links,
    recoveries,
    schedules,
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
    event_type_form.router,
    schedules.router,
    inbox.router,
    inbox.address_router,
    exports.router,
    event.router,
    exchange.router,
    webhook_form.router,
    webhook.router,
    webhook_receiver.router,
    webhook_settings.router,
    lists.router,
    portal_links.router,
    recoveries.router,
)
"""`/webhooks/new` and `/webhooks/export.csv` come before `/webhooks/{webhook_id}`, and all forms of a webhook before
`POST /webhooks/{webhook_id}/{command}`."""
