"""What the server gets to see of errors."""

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from hookkeeper.temporal.server.data_converter import data_converter


@pytest.mark.parametrize(
    ("category", "has_stack"),
    [(ApplicationErrorCategory.BENIGN, False), (ApplicationErrorCategory.UNSPECIFIED, True)],
)
async def test_an_expected_error_has_no_stack_in_temporal(category: ApplicationErrorCategory, has_stack: bool) -> None:
    failure = Failure()
    try:
        raise ApplicationError("no slot", 7, type="TenantAtLimit", category=category)
    except ApplicationError as error:
        await data_converter().encode_failure(error, failure)
    assert bool(failure.stack_trace) is has_stack
    assert (failure.message, failure.application_failure_info.type) == ("no slot", "TenantAtLimit")
    assert failure.application_failure_info.details.payloads[0].data == b"7"
