"""Types of errors stay what histories and running clients know."""

from hookkeeper import commands, error_types


def test_error_types_keep_their_names() -> None:
    types = {name: value for name, value in vars(error_types).items() if name.isupper()}
    assert types == {
        "DELIVERIES_FAILED": "DeliveriesFailed",
        "ALERT_NOT_SENT": "AlertNotSent",
        "ALERT_GIVEN_UP": "AlertGivenUp",
        "TENANT_AT_LIMIT": "TenantAtLimit",
        "EVENT_REFUSED": "EventRefused",
        "RATE_EXCEEDED": "RateExceeded",
        "STILL_DELIVERING": "StillDelivering",
        "REFUSED": "Refused",
        "RUN_IS_CLOSING": "RunIsClosing",
        "UNKNOWN_DELIVERY": "UnknownDelivery",
    }


def test_exceptions_of_commands_have_the_names_by_which_updates_are_rejected() -> None:
    raised = (commands.Refused, commands.RunIsClosing, commands.UnknownDelivery)
    assert [error.__name__ for error in raised] == [
        error_types.REFUSED,
        error_types.RUN_IS_CLOSING,
        error_types.UNKNOWN_DELIVERY,
    ]
