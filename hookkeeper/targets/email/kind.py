"""The description of emails."""

from hookkeeper.kind import Items, Kind

EMAIL = Kind(
    name="email",
    field="emails",
    label="Email",
    verb="email to",
    activity="send_emails",
    shows_answer=True,
    items=Items(
        help="Emails to send for each event.",
        model="hookkeeper.content.emails:Email",
        check="hookkeeper.content.emails:check",
        render="hookkeeper.content.emails:render_email",
        rendered=("hookkeeper.content.emails:RenderedEmail",),
        sender="hookkeeper.targets.email.send:EmailSender",
        preview="hookkeeper.targets.email.preview:EmailPreview",
        words="hookkeeper.targets.email.words",
        faults="hookkeeper.content.emails:faults",
    ),
)
