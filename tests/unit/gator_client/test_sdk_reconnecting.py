"""How long a stream whose connection broke is taken up again."""

from types import SimpleNamespace

import grpc
import pytest

from gator_client import ConnectionLost, RenderError
from gator_client.reconnecting import ReconnectingStream

PATIENCE = 120


def broken(code=grpc.StatusCode.UNAVAILABLE, details="Socket closed"):
    metadata = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, metadata, metadata, details)


def stream(clock, *calls, **options):
    """A stream whose calls answer with messages, wait for seconds, or break."""
    remaining = iter(calls)
    timeouts = []

    def open_call(timeout):
        timeouts.append(timeout)
        answers = iter(next(remaining))

        async def read():
            for answer in answers:
                if isinstance(answer, (int, float)):
                    clock.now += answer
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    return answer
            return grpc.aio.EOF

        return SimpleNamespace(read=read, cancel=lambda: None)

    options = {"patience": PATIENCE, "timeout": None, **options}
    made = ReconnectingStream(open_call, "host:1", **options)
    made.timeouts = timeouts
    return made


async def read_all(made):
    messages = []
    while (message := await made.read()) is not None:
        messages.append(message)
    return messages


async def test_messages_come_from_one_call_after_another(clock):
    made = stream(clock, ["a", "b", broken()], [broken()], ["c", broken()], ["d", "e"])
    messages = await read_all(made)
    assert [m for m in messages if isinstance(m, str)] == ["a", "b", "c", "d", "e"]
    assert sum(isinstance(m, ConnectionLost) for m in messages) == 1


async def test_patience_ends(clock):
    made = stream(clock, ["a", broken()], *[[20, broken()]] * 10)
    assert await made.read() == "a"
    assert isinstance(await made.read(), ConnectionLost)
    with pytest.raises(RenderError) as caught:
        await made.read()
    assert caught.value.reason == "UNREACHABLE"
    assert clock.now == 1000 + PATIENCE


async def test_a_server_that_only_says_hello_is_given_up_too(clock):
    made = stream(clock, ["a", "b", broken()], *[["hello", 4, broken()]] * 100)
    with pytest.raises(RenderError):
        await read_all(made)
    assert len(made.timeouts) == 1 + PATIENCE / 4


@pytest.mark.parametrize("between", [["hello", 6], [50], ["hello", "more"]])
async def test_a_connection_that_was_there_for_a_while_begins_a_new_patience(clock, between):
    cycle = [[*between, broken()], [30, broken()], [30, broken()]]
    made = stream(clock, ["a", broken()], *cycle * 20, ["z"])
    assert (await read_all(made))[-1] == "z"


async def test_nothing_is_tried_again_before_there_was_a_server(clock):
    made = stream(clock, [broken()], ["a"])
    with pytest.raises(RenderError):
        await made.read()
    known = stream(clock, [broken()], ["a"], known=True)
    assert isinstance(await known.read(), ConnectionLost)
    assert await known.read() == "a"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.CANCELLED, ""),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    ],
)
async def test_a_stream_that_is_reset_is_a_broken_connection(clock, code, details):
    made = stream(clock, ["a", broken(code, details)], ["b"])
    assert [m for m in await read_all(made) if isinstance(m, str)] == ["a", "b"]


@pytest.mark.parametrize("code", ["INTERNAL", "NOT_FOUND", "UNKNOWN", "DEADLINE_EXCEEDED"])
async def test_what_is_no_broken_connection_is_final(clock, code):
    made = stream(clock, ["a", broken(grpc.StatusCode[code], "something")], ["b"])
    assert await made.read() == "a"
    with pytest.raises(RenderError) as caught:
        await made.read()
    assert caught.value.code == code


async def test_what_is_left_of_a_time_out_goes_with_each_call(clock):
    made = stream(clock, ["a", 4, broken()], [3, broken()], ["b"], timeout=5)
    assert len(await read_all(made)) == 3
    assert made.timeouts == [5, 1, 0]
