"""The dashboard: pages for operators and, with a tenant's key, for customers."""

from api.extensions import Extension
from dashboard import (
    doctor,
    event,
    event_type_form,
    event_types,
    exchange,
    exports,
    filtered_lists,
    issues,
    limits,
    lists,
    login,
    look,
    overview,
    portal_links,
    recoveries,
    schedules,
    tenants,
    webhook,
    webhook_form,
    webhook_receiver,
    webhook_settings,
)
from dashboard.rendering import unknown_page

ROUTERS = (
    login.router,
    look.router,
    login.logo_router,
    overview.router,
    issues.router,
    limits.router,
    tenants.router,
    doctor.router,
    event_types.router,
    event_type_form.router,
    schedules.router,
    exports.router,
    filtered_lists.router,
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
EXTENSION = Extension(
    routers=ROUTERS,
    keyless=frozenset({"/login", "/logout", "/portal/{token}", "/static/{asset}", "/theme/{colours}.css"}),
    untraced=("/portal/",),  # the token of a link
    unknown_page=unknown_page,
)
"""All pages but those that are `keyless` need a session: see `dashboard.routes`."""
