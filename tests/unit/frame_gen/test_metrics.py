"""What Prometheus reads of frame generation."""

import urllib.request

import pytest

from frame_gen.backends.base import Availability, BackendError, GenerationRequest
from frame_gen.backends.fallback import FallbackChain
from frame_gen.backends.placeholder import PlaceholderBackend
from frame_gen.service import FrameGenService
from rpckit.errors import Reason
from rpckit.metrics import metrics_endpoint
from rpckit.provenance import Backend as Kind
from rpckit.settings import MetricsSettings, SettingsError
from tests.support.backends import ScriptedBackend

ON_LOOPBACK = MetricsSettings(listen="127.0.0.1:0")


def read(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if x[0] != "#")
    }


async def test_frames_and_what_was_passed_over_are_counted():
    made = 'gator_frames_total{backend="placeholder",reason="OVERLOADED"}'
    over = 'gator_backends_passed_over_total{backend="openai",reason="OVERLOADED"}'
    rejecting = ScriptedBackend(Kind.OPENAI, BackendError(Reason.OVERLOADED, "busy"))
    placeholder = PlaceholderBackend(1)
    chain = FallbackChain([rejecting, placeholder], frame_timeout=60)
    request = GenerationRequest(prompt="a fox", video_width=64, video_height=64)
    with metrics_endpoint(ON_LOOPBACK) as port:
        before = read(port)
        async for _ in chain.generate(request):
            pass
        after = read(port)
    await placeholder.close()
    assert after[made] - before.get(made, 0) == 1
    assert after[over] - before.get(over, 0) == 1
    took = 'gator_frame_generation_seconds_count{backend="placeholder"}'
    assert after[took] - before.get(took, 0) == 1


async def test_it_is_shown_which_backends_can_make_frames():
    model, placeholder = ScriptedBackend(Kind.OPENAI), PlaceholderBackend(1)
    service = FrameGenService(FallbackChain([model, placeholder], frame_timeout=60), 1)
    up = 'gator_backend_up{backend="openai"}'
    with metrics_endpoint(ON_LOOPBACK) as port:
        assert read(port)[up] == 1
        model.state = Availability(available=False, message="no key")
        shown = read(port)
        assert shown[up] == 0
        assert shown['gator_backend_up{backend="placeholder"}'] == 1
        await service.close()
        assert up not in read(port)


def test_there_is_no_endpoint_unless_it_is_asked_for():
    with metrics_endpoint(MetricsSettings()) as port:
        assert port is None


def test_an_address_without_a_port_is_refused():
    with pytest.raises(ValueError, match="listen"):
        MetricsSettings(listen="localhost")


def test_an_address_in_use_is_told_by_its_variable():
    with metrics_endpoint(ON_LOOPBACK) as port:
        taken = f"127.0.0.1:{port}"
        with (
            pytest.raises(SettingsError, match=f"GATOR_METRICS_LISTEN: cannot listen on {taken}"),
            metrics_endpoint(MetricsSettings(listen=taken)),
        ):
            raise AssertionError("it listens")
