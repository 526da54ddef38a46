"""What the operator's settings make: the mail provider, and alerts about all webhooks."""

import httpx
from pydantic import ValidationError

from hookkeeper.content.emails import check_addresses
from hookkeeper.content.notifications import OnFailure
from hookkeeper.mail.capture import EmailCapture
from hookkeeper.mail.provider import CheckedProvider, NoProvider
from hookkeeper.settings import BadSetting, Settings


def mail_provider(settings: Settings, client: httpx.AsyncClient) -> CheckedProvider:
    """Return the provider that the settings choose. Raises BadSetting."""
    try:
        return _provider_of(settings, client)
    except ValueError as error:
        raise BadSetting(f"the email settings are invalid: {error}") from None


def _provider_of(settings: Settings, client: httpx.AsyncClient) -> CheckedProvider:
    sender = settings.email_from
    if settings.sendgrid_api_key:
        from hookkeeper.mail.sendgrid import SendGrid  # with SendGrid's library, which few installations use

        key = settings.sendgrid_api_key.get_secret_value()
        trackable = settings.sendgrid_verification_key is not None
        return SendGrid(client, api_key=key, host=settings.sendgrid_host, sender=sender, trackable=trackable)
    if settings.smtp_url:
        from hookkeeper.mail.smtp import Smtp

        return Smtp(settings.smtp_url.get_secret_value(), sender=sender)
    return EmailCapture(settings.email_capture_dir, sender=sender) if settings.email_capture_dir else NoProvider()


def operator_alerts(settings: Settings) -> OnFailure | None:
    """Return how the operator is alerted of the failures of all webhooks, if at all. Raises BadSetting."""
    services = settings.alert_services.get_secret_value().split() if settings.alert_services else ()
    if not (settings.alert_emails or services):
        return None
    emails = [{"to": settings.alert_emails}] if settings.alert_emails else []
    notifications = [{"service": url} for url in services]
    try:
        alerts = OnFailure.model_validate({"emails": emails, "notifications": notifications})
    except ValidationError as error:
        words = "; ".join(detail["msg"] for detail in error.errors(include_input=False, include_url=False))
        raise BadSetting(f"HOOKKEEPER_ALERT_EMAILS or HOOKKEEPER_ALERT_SERVICES: {words}") from None
    for email in alerts.emails:
        for _, detail in check_addresses(email):
            raise BadSetting(f"HOOKKEEPER_ALERT_EMAILS: {detail}")
    return alerts
