"""What an operator reads if Temporal cannot be reached. The texts are those of the SDK 1.35."""

import pytest

from hookkeeper.temporal.server.connection import CLOSES, reason_of

TRANSPORT = "Failed client connect: Server connection error: tonic::transport::Error(Transport, ConnectError("
CALL = "Failed client connect: `get_system_info` call error after connection: Status { code: "
SOURCE = "source: Some(tonic::transport::Error(Transport, hyper::Error("


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f'{TRANSPORT}ConnectError("tcp connect error", 127.0.0.1:1, Os {{ code: 111, kind: ConnectionRefused,'
            ' message: "Connection refused" })))',
            "Connection refused",
        ),
        (
            f'{TRANSPORT}ConnectError("dns error", Custom {{ kind: Uncategorized, error: "failed to lookup address'
            ' information: Name or service not known" })))',
            "failed to lookup address information: Name or service not known",
        ),
        (
            f"{TRANSPORT}Custom {{ kind: InvalidData, error: InvalidMessage(InvalidContentType) }}))",
            "it does not speak TLS, which TEMPORAL_TLS… and TEMPORAL_API_KEY turn on",
        ),
        (
            f"{TRANSPORT}Custom {{ kind: InvalidData, error: InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))"
            " }))",
            "its certificate is not accepted: Other(OtherError(CaUsedAsEndEntity))",
        ),
        (
            f"{TRANSPORT}Custom {{ kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }}))",
            "its certificate is not accepted: UnknownIssuer",
        ),
        (
            f'{CALL}Unknown, message: "transport error", {SOURCE}Io, Custom {{ kind: BrokenPipe, error: "stream closed'
            ' because of a broken pipe" }))) }',
            CLOSES,
        ),
        (
            f'{CALL}Unknown, message: "transport error", {SOURCE}Io, Custom {{ kind: UnexpectedEof, error: "peer closed'
            ' connection without sending TLS close_notify: https://docs.rs/rustls" }))) }',
            CLOSES,
        ),
        (
            f'{CALL}Cancelled, message: "operation was canceled", {SOURCE}Canceled, "connection closed"))) }}',
            CLOSES,
        ),
        (
            f'{CALL}Internal, message: "h2 protocol error: http2 error", {SOURCE}Http2, Error {{ kind: GoAway(b"",'
            " FRAME_SIZE_ERROR, Library) }))) }",
            "it is no Temporal server",
        ),
        (
            f'{CALL}Unauthenticated, message: "Request unauthorized.", metadata: MetadataMap {{ headers: {{}} }} }}',
            "Request unauthorized.",
        ),
        ("another text", "another text"),
    ],
)
def test_the_reason_is_the_innermost_one(text: str, reason: str) -> None:
    assert reason_of(text) == reason
