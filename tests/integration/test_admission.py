"""What is taken in, over gRPC: who is refused is told why, of which bound, and when to come back.

The details are read as any client reads them, not by our own code.
"""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gator.gateway.v1 import render_service_pb2 as pb
from tests.support.frame_source import FrameSource
from tests.support.gateways import created, ended, request, stack


async def refusal(stub, message) -> tuple[grpc.StatusCode, dict]:
    """The code, and the details by their kind."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await created(stub, message)
    trailers = dict(raised.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    details = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
        packed.Unpack(detail := kind())
        details[kind] = detail
    assert status.code == raised.value.code().value[0]
    return raised.value.code(), details


async def test_an_owner_with_as_many_renders_as_may_be_is_told_which_bound_it_is():
    source = FrameSource()
    source.hold(0)
    async with stack(source, max_renders_per_owner=2) as stub:
        first, second = [await created(stub, request(1, 0.1, request_id=name)) for name in "ab"]
        code, details = await refusal(stub, request(1, 0.1))
        # What there is already is found.
        assert (await created(stub, request(1, 0.1, request_id="a"))).render_id == first.render_id
        await stub.CancelRender(pb.CancelRenderRequest(render_id=second.render_id))
        later = await created(stub, request(1, 0.1))
        source.release(0)
        assert (await ended(stub, later.render_id)).state == pb.RENDER_STATE_SUCCEEDED
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert set(details) == {
        error_details_pb2.ErrorInfo,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RetryInfo,
    }
    info = details[error_details_pb2.ErrorInfo]
    assert (info.reason, info.metadata["quota"]) == ("QUOTA_EXCEEDED", "renders_per_owner")
    [violation] = details[error_details_pb2.QuotaFailure].violations
    assert (violation.quota_id, violation.quota_value) == ("renders_per_owner", 2)
    assert (violation.subject, "2 renders" in violation.description) == ("owner", True)
    assert details[error_details_pb2.RetryInfo].retry_delay.seconds > 0


async def test_a_full_queue_is_told_with_a_time_to_come_back():
    source = FrameSource()
    source.hold(0)
    async with stack(source, max_concurrent_renders=1, max_queued=1) as stub:
        await created(stub, request(1, 0.1))
        await source.started[0].wait()
        waits = await created(stub, request(1, 0.1))
        code, details = await refusal(stub, request(1, 0.1))
        source.release(0)
        assert (await ended(stub, waits.render_id)).state == pb.RENDER_STATE_SUCCEEDED
        await created(stub, request(1, 0.1))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert set(details) == {error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo}
    assert details[error_details_pb2.ErrorInfo].reason == "OVERLOADED"
    assert details[error_details_pb2.RetryInfo].retry_delay.seconds > 0
