"""What a trace shows of the making of a frame."""

import pytest
from opentelemetry.trace import StatusCode

from frame_gen.backends.base import BackendError, GenerationRequest, Progress
from frame_gen.backends.fallback import FallbackChain
from rpckit.errors import GatorError, Reason
from rpckit.provenance import Backend as Kind
from tests.support.backends import ScriptedBackend, generated
from tests.support.spans import recorded_spans

REQUEST = GenerationRequest(
    prompt="a secret harbour", negative_prompt="a secret boat", render_id="r-1", scene_index=3
)


async def tries(*backends: ScriptedBackend):
    chain = FallbackChain(backends, frame_timeout=60)
    with recorded_spans() as spans:
        try:
            async for _ in chain.generate(REQUEST):
                pass
        except GatorError:
            pass
    made = spans.get_finished_spans()
    assert {span.name for span in made} == {"make frame"}
    assert not any("secret" in span.to_json() for span in made)
    return made


async def test_each_backend_that_tries_has_a_span_and_the_last_tells_of_the_frame():
    busy = ScriptedBackend(
        Kind.OPENAI, Progress(1, 9), BackendError(Reason.OVERLOADED, "a secret harbour")
    )
    over, made = await tries(busy, ScriptedBackend(Kind.DIFFUSERS, generated()))
    assert over.status.status_code is StatusCode.ERROR
    assert over.attributes == {
        "gator.render.id": "r-1",
        "gator.scene.index": 3,
        "gator.frame.backend": "openai",
        "error.type": "OVERLOADED",
    }
    assert made.status.status_code is StatusCode.UNSET
    told = dict(made.attributes)
    assert told.pop("gator.frame.queue_seconds") == 0
    assert 0 < told.pop("gator.frame.generation_seconds") < 60
    assert told == {
        "gator.render.id": "r-1",
        "gator.scene.index": 3,
        "gator.frame.backend": "diffusers",
        "gator.frame.model": "model@1",
        "gator.frame.steps": 7,
        "gator.frame.guidance_scale": 2.5,
        "gator.frame.width": 3,
        "gator.frame.height": 2,
        "gator.frame.passed_over": ("openai: OVERLOADED",),
    }


@pytest.mark.parametrize("fault", [ZeroDivisionError("a secret harbour"), None])
async def test_a_backend_that_breaks_or_makes_nothing_has_failed(fault):
    (over,) = await tries(ScriptedBackend(Kind.DIFFUSERS, *filter(None, [fault])))
    assert over.status.status_code is StatusCode.ERROR
    assert over.attributes["error.type"] == (
        "ZeroDivisionError" if fault else Reason.GENERATION_FAILED.name
    )
