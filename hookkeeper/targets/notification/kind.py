"""The description of notifications."""

from hookkeeper.kind import Items, Kind

NOTIFICATION = Kind(
    name="notification",
    field="notifications",
    label="Notification",
    verb="notify",
    activity="send_notifications",
    items=Items(
        help="Messages to services such as Slack, or calls of HTTP APIs, for each event. URLs are masked in responses.",
        model="hookkeeper.content.notifications:Notification",
        check="hookkeeper.content.notifications:check",
        render="hookkeeper.content.notifications:render_notification",
        rendered=(
            "hookkeeper.content.notifications:RenderedNotification",
            "hookkeeper.content.notifications:RenderedHttpCall",
        ),
        sender="hookkeeper.targets.notification.send:NotificationSender",
        words="hookkeeper.targets.notification.words",
        faults="hookkeeper.content.notifications:faults",
        masked="hookkeeper.content.masking:masked",
        unmasked="hookkeeper.content.masking:unmasked",
    ),
)
