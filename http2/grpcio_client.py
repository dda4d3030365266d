"""gRPC's Python client, which others wrote, against the server of http2/grpc_interop_test.cc: every
kind of call, errors with details, metadata, deadlines, cancellation, compression, large messages.

usage: grpcio_client.py TARGET    (unix:/path)
"""

import sys
import threading

import grpc

SIZES = (0, 1, 1000, 70_000, 4 * 1024 * 1024)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def same(message):
    return message


def failure(call, *arguments, **options):
    """The error that the call ends with."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call has succeeded")


def main(target):
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        def unary(method):
            return channel.unary_unary(f"/test.Service/{method}", same, same)

        for size in SIZES:
            message = b"x" * size
            assert unary("Unary")(message) == message, size

        error = failure(unary("Fail"), b"")
        assert error.code() == grpc.StatusCode.ABORTED, error
        assert error.details() == "100% \u00fc\n", error.details()
        trailers = dict(error.trailing_metadata())
        assert trailers["grpc-status-details-bin"] == b"\0\xff details", trailers

        assert failure(unary("Other"), b"").code() == grpc.StatusCode.UNIMPLEMENTED
        too_long = failure(unary("Unary"), b"x" * (4 * 1024 * 1024 + 1))
        assert too_long.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, too_long
        compressed = failure(unary("Unary"), b"x" * 10_000, compression=grpc.Compression.Gzip)
        assert compressed.code() == grpc.StatusCode.UNIMPLEMENTED, compressed

        metadata = [("x-text", "text:"), ("x-bytes-bin", b"\0\1\2\3")]
        assert unary("Metadata")(b"", metadata=metadata) == b"text:\0\1\2\3"

        late = failure(unary("Never"), b"", timeout=0.05)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
        never = unary("Never").future(b"")
        ended = threading.Event()
        never.add_done_callback(lambda _: ended.set())
        never.cancel()
        assert ended.wait(10) and never.cancelled()

        messages = [b"m" * size for size in range(1000)]
        echo = channel.stream_stream("/test.Service/Echo", same, same)
        assert list(echo(iter(messages))) == messages
        three = channel.unary_stream("/test.Service/Three", same, same)
        assert list(three(b"x")) == [b"x"] * 3
    print("all as it should be")


main(sys.argv[1])
