"""Why an attempt failed, in a sentence, and what usually helps: one table for pages, API, command line, alerts, agents.

Pure. Pages translate both texts. `docs/troubleshooting.md` has the same table; a test compares them.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from hookkeeper.wording import N_

MAX_DETAIL = 120
"""Characters of a detail in a sentence."""


class Cause(NamedTuple):
    """A row of the table. The first row that fits an attempt is its cause."""

    error: str
    """A pattern of the whole `error` of the attempt."""
    sentence: str
    remedy: str
    text: str = ""
    """A pattern to be found in the text of the attempt: what it was answered, or what its request met."""
    has_detail: bool = False
    """Whether the text belongs into the sentence: a name, an address, a message of TLS."""


CAUSES = (
    Cause(
        "tls",
        N_("The certificate is self-signed"),
        N_("Use a certificate of a public authority, or set the authority in `tls.ca` of the webhook."),
        text="self.signed",
    ),
    Cause("tls", N_("The certificate has expired"), N_("Renew the receiver's certificate."), text="expired"),
    Cause(
        "tls",
        N_("The certificate is for another host"),
        N_("Correct the host in the URL, or get a certificate that names it."),
        text="mismatch|not valid for",
        has_detail=True,
    ),
    Cause(
        "tls",
        N_("The certificate's authority is unknown, or its chain is incomplete"),
        N_("Let the receiver send its intermediate certificates, or set the authority in `tls.ca` of the webhook."),
        text="issuer certificate",
    ),
    Cause(
        "tls",
        N_("The receiver does not speak TLS at this port"),
        N_("Correct the scheme or the port of the URL."),
        text="wrong version|record layer|http request",
    ),
    Cause("tls", N_("The TLS handshake failed"), N_("Compare the TLS settings of both sides."), has_detail=True),
    Cause("dns", N_("There is no such host"), N_("Correct the host in the URL, or its DNS records."), has_detail=True),
    Cause(
        "connection_refused",
        N_("The connection was refused"),
        N_("Start the receiver, correct the port, or open its firewall."),
        has_detail=True,
    ),
    Cause(
        "connection_reset",
        N_("The receiver closed the connection without a complete response"),
        N_("Look into the receiver's log: it may have crashed, or a proxy before it has ended the connection."),
    ),
    Cause(
        "timeout",
        N_("No complete response in time"),
        N_("Let the receiver answer first and work afterwards, or raise the `timeout` of the webhook."),
        has_detail=True,
    ),
    Cause("protocol", N_("The response is not valid HTTP"), N_("Check that the URL leads to an HTTP server.")),
    Cause(
        "forbidden_address",
        N_("The address is not allowed"),
        N_("Use a public address, or ask the operator to allow its network."),
    ),
    Cause(
        "bad_template",
        N_("A template of the webhook fails for this event"),
        N_("Correct the template with the webhook's preview, then deliver again."),
        has_detail=True,
    ),
    Cause(
        "bad_filter",
        N_("The filter fails, so events are left out"),
        N_("Correct the filter with the webhook's preview, then send the event to this webhook again."),
        has_detail=True,
    ),
    Cause(
        "http_3..",
        N_("The receiver redirects, and redirects are not followed"),
        N_("Set the URL that it redirects to."),
        has_detail=True,
    ),
    Cause(
        "http_40[13]|http_407",
        N_("The receiver does not let the request in"),
        N_("Check the headers of the webhook, and the signing key at the receiver."),
    ),
    Cause("http_404", N_("The receiver knows no such path"), N_("Correct the path of the URL.")),
    Cause("http_405", N_("The receiver takes no POST at this path"), N_("Correct the path of the URL.")),
    Cause(
        "http_410", N_("The receiver wants no more events"), N_("Delete the webhook, or correct its URL and enable it.")
    ),
    Cause(
        "http_413",
        N_("The body is too large for the receiver"),
        N_("Raise the limit of the receiver, or make the body smaller with a template."),
    ),
    Cause(
        "http_429",
        N_("The receiver is over its rate"),
        N_("Set a `rate_limit` of the webhook that the receiver can take."),
    ),
    Cause(
        "http_4..", N_("The receiver refuses the request"), N_("Read its answer, and compare the body with its docs.")
    ),
    Cause(
        "http_50[234]",
        N_("The receiver's proxy cannot reach it"),
        N_("Start the receiver's application, or wait until it can take requests again."),
    ),
    Cause("http_5..", N_("The receiver has an error of its own"), N_("Look into the receiver's log.")),
    Cause(
        "smtp_4..",
        N_("The mail server refuses the email for now"),
        N_("Read its answer; the email is tried again."),
        has_detail=True,
    ),
    Cause(
        "smtp_5..",
        N_("The mail server refuses the email"),
        N_("Correct the address, or what its answer complains of."),
        has_detail=True,
    ),
    Cause("bounced|dropped", N_("The email did not arrive"), N_("Correct the address."), has_detail=True),
    Cause(
        "suppressed",
        N_("All addresses are suppressed"),
        N_("Remove the address from the list of suppressions, if it works again."),
    ),
    Cause(
        "no_recipients", N_("No address is left that the email can go to"), N_("Add an address to `to` of the email.")
    ),
    Cause("no_email_provider", N_("No mail provider is set"), N_("Ask the operator to set SendGrid or SMTP.")),
    Cause(
        "needs_sendgrid",
        N_("The email has a template of SendGrid, and another provider is set"),
        N_("Use a template of the webhook, or let the operator set SendGrid."),
    ),
    Cause(
        "key_in_text",
        N_("The email contains the key of the mail provider"),
        N_("Remove the key from the template or the data."),
    ),
    Cause(
        "not_accepted",
        N_("The service did not accept the message"),
        N_("Read its answer, and check the service's URL."),
    ),
)
UNKNOWN = Cause("", N_("The attempt failed"), N_("Read the answer of the receiver."), has_detail=True)


def cause_of(error: str | None, text: str = "") -> Cause | None:
    """Return the cause of an attempt's error, with the text that it was answered; None without an error."""
    if not error:
        return None
    fits = (row for row in CAUSES if re.fullmatch(row.error, error) and re.search(row.text, text, re.IGNORECASE))
    return next(fits, UNKNOWN)


def sentence_of(
    error: str | None, status_code: int | None = None, text: str = "", translated: Callable[[str], str] = str
) -> str | None:
    """Say why an attempt failed: `There is no such host: nowhere.example`; None without an error.

    A status comes with its phrase: `The receiver has an error of its own: 500 Internal Server Error`.
    """
    cause = cause_of(error, text)
    if cause is None:
        return None
    details = ", ".join(filter(None, (status_of(error, status_code), _detail(cause, text))))
    return f"{translated(cause.sentence)}: {details}" if details else translated(cause.sentence)


def remedy_of(error: str | None, text: str = "") -> str | None:
    """Return what usually helps; None without an error."""
    cause = cause_of(error, text)
    return cause and cause.remedy


def status_of(error: str | None, status_code: int | None) -> str:
    """Return `404 Not Found`, `SMTP 550`; empty for an attempt without an answer that has a status."""
    if error and error.startswith("smtp_"):
        return f"SMTP {error.removeprefix('smtp_')}"
    if status_code is None:
        return ""
    phrase = HTTPStatus(status_code).phrase if status_code in HTTPStatus._value2member_map_ else ""
    return f"{status_code} {phrase}".strip()


def _detail(cause: Cause, text: str) -> str:
    line = " ".join(text.split()) if cause.has_detail else ""
    return line if len(line) <= MAX_DETAIL else f"{line[: MAX_DETAIL - 1]}…"
