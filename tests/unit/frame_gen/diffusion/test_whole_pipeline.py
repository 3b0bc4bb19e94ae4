"""Whole pipelines: the images of diffusers, made together where settings are equal."""

import dataclasses
import io
import threading
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import AutoencoderTiny, FluxPipeline

from frame_gen.diffusion.job import FailureReason, Job
from frame_gen.diffusion.loaded_pipeline import LoadedPipeline
from frame_gen.diffusion.previews import MAX_JPEG_BYTES, factors_for
from frame_gen.diffusion.whole_pipeline import WholePipelineEngine
from tests.support.engine_jobs import TIMEOUT, Recorder, Turnstile, psnr, thread_named
from tests.support.tiny_models import sd15_pipeline
from tests.support.tiny_transformers import pixart_pipeline


def pipeline_model(pipeline, **more):
    return LoadedPipeline(
        "tiny", "r", pipeline, torch.device("cpu"), torch.float32, 128, 64, **more
    )


def tiny_decoder(channels=4):
    return AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).eval()


def with_vae_of(scaling, channels=4):
    """The tiny PixArt with a VAE that gives itself out for another."""
    pipeline = pixart_pipeline()
    pipeline.vae.register_to_config(scaling_factor=scaling, latent_channels=channels)
    return pipeline


def previews_of(engine, model, **more):
    recorder = Recorder()
    engine.submit(job(model, steps=12, width=128, **more), recorder)
    recorder.image()
    assert recorder.after_end == 0
    return recorder.previews


def size_of(preview):
    assert len(preview.jpeg) <= MAX_JPEG_BYTES
    with PIL.Image.open(io.BytesIO(preview.jpeg), formats=["JPEG"]) as image:
        return image.size


@pytest.fixture(scope="module")
def stock():
    return pixart_pipeline()


@pytest.fixture(scope="module")
def model():
    return pipeline_model(pixart_pipeline())


class Gate:
    """Lets the first call wait, counts them, refuses those with too many images."""

    def __init__(self, most=100):
        self.most = most
        self.calls = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def enter(self, phase, *, rows, pixels):
        self.calls.append(rows)
        self.entered.set()
        assert self.open.wait(TIMEOUT)
        if rows > self.most:
            raise torch.OutOfMemoryError("refused")


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def engine(gate):
    engine = WholePipelineEngine("cpu", 4, gate=gate)
    yield engine
    gate.open.set()
    engine.close()


@pytest.fixture
def turnstile(engine):
    """Open by the time that the engine is closed."""
    turnstile = Turnstile()
    yield turnstile
    turnstile.open()


def job(model, prompt="a cat", **more):
    values = {"width": 64, "height": 64, "steps": 3, "guidance": 4.0, "seed": 1, **more}
    return Job(model, prompt, **values)


def submit_together(engine, gate, jobs, recorders=None):
    """Submits while a first job holds the engine, so that the others wait side by side."""
    gate.open.clear()
    first = Recorder()
    engine.submit(job(jobs[0].model, "first", steps=1), first)
    assert gate.entered.wait(TIMEOUT)
    recorders = recorders or [Recorder() for _ in jobs]
    handles = [engine.submit(j, r) for j, r in zip(jobs, recorders, strict=True)]
    gate.open.set()
    first.image()
    return recorders, handles


def stock_picture(stock, asked):
    arguments = {
        "negative_prompt": asked.negative_prompt,
        "width": asked.width,
        "height": asked.height,
        "num_inference_steps": asked.steps,
        "guidance_scale": asked.guidance,
        "generator": torch.Generator("cpu").manual_seed(asked.seed),
        "output_type": "np",
    }
    if "pixart" in type(stock).__name__.lower():
        arguments |= {"use_resolution_binning": False, "clean_caption": False}
    return (stock(asked.prompt, **arguments).images[0] * 255).round().astype(np.uint8)


def test_mixed_jobs_give_the_images_of_diffusers(engine, gate, model, stock):
    jobs = [
        job(model, "a cat", seed=5),
        job(model, "a dog", seed=2**64 - 1, negative_prompt="ugly"),
        job(model, "a dog", seed=6, guidance=1.0),
        job(model, "a bird", seed=7, width=128),
        job(model, "a fish", seed=8, steps=5),
    ]
    recorders, _ = submit_together(engine, gate, jobs)
    for asked, recorder in zip(jobs, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_picture(stock, asked)) > 50
        assert [p.step for p in recorder.steps] == list(range(1, asked.steps + 1))
        assert len(recorder.ends) == 1
        assert recorder.after_end == 0
    assert sorted(gate.calls[1:]) == [1, 1, 1, 2]


def test_sixteen_at_a_time_give_sixteen_right_images(engine, model, stock):
    jobs = [job(model, f"picture {n}", seed=n) for n in range(16)]
    recorders = [Recorder() for _ in jobs]
    threads = [
        threading.Thread(target=engine.submit, args=pair)
        for pair in zip(jobs, recorders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for asked, recorder in zip(jobs, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_picture(stock, asked)) > 50


def test_pipelines_with_the_newer_callback_are_called_too(engine):
    stock = sd15_pipeline()
    asked = job(pipeline_model(sd15_pipeline()), "a cat", negative_prompt="ugly")
    recorder = Recorder()
    engine.submit(asked, recorder)
    assert psnr(recorder.image().picture, stock_picture(stock, asked)) > 50
    assert [p.step for p in recorder.steps] == [1, 2, 3]
    assert recorder.steps[-1].time_left == 0


def test_a_cancelled_job_leaves_the_others_of_its_call_alone(engine, gate, model, stock, turnstile):
    jobs = [job(model, "stays", steps=8), job(model, "goes", steps=8)]
    stays, goes = Recorder(), Recorder(on_progress=turnstile)
    _, handles = submit_together(engine, gate, jobs, [stays, goes])
    goes.wait_for(lambda recorder: recorder.steps)
    handles[1].cancel()
    turnstile.open()
    assert goes.failure().reason is FailureReason.CANCELLED
    assert len(goes.steps) == 1
    assert psnr(stays.image().picture, stock_picture(stock, jobs[0])) > 50


def test_a_call_that_nobody_wants_ends_at_its_next_step(engine, model, turnstile):
    recorder, waiting = Recorder(on_progress=turnstile), Recorder()
    handle = engine.submit(job(model, steps=90), recorder)
    recorder.wait_for(lambda recorder: recorder.steps)
    handle.cancel()
    turnstile.open()
    assert recorder.failure().reason is FailureReason.CANCELLED
    assert len(recorder.steps) == 1
    engine.submit(job(model), waiting)
    waiting.image()


def test_a_job_that_waits_can_be_cancelled_while_another_runs(engine, model, turnstile):
    long, waits = Recorder(on_progress=turnstile), Recorder()
    runs = engine.submit(job(model, steps=90), long)
    long.wait_for(lambda recorder: recorder.steps)
    handle = engine.submit(job(model, steps=2), waits)
    turnstile.let_on()
    waits.wait_for(lambda recorder: recorder.positions)
    handle.cancel()
    turnstile.let_on()
    assert waits.failure().reason is FailureReason.CANCELLED
    long.wait_for(lambda recorder: len(recorder.steps) == 3)
    assert not long.ends
    runs.cancel()
    turnstile.open()
    assert long.failure().reason is FailureReason.CANCELLED


def test_a_job_past_its_deadline_fails(gate, model):
    now = [0.0]
    engine = WholePipelineEngine("cpu", gate=gate, clock=lambda: now[0])

    def late(progress):
        now[0] = 100.0

    recorder = Recorder(on_progress=late)
    engine.submit(dataclasses.replace(job(model, steps=9), deadline=50.0), recorder)
    assert recorder.failure().reason is FailureReason.DEADLINE_EXCEEDED
    assert len(recorder.steps) <= 2
    engine.close()


def test_memory_that_runs_out_makes_calls_smaller(engine, gate, model, stock):
    gate.most = 1
    jobs = [job(model, f"picture {n}", seed=n) for n in range(4)]
    recorders, _ = submit_together(engine, gate, jobs)
    for asked, recorder in zip(jobs, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_picture(stock, asked)) > 50
    assert gate.calls == [1, 4, 2, 1, 1, 1, 1]


def test_memory_that_never_suffices_is_said_after_every_way_was_tried(engine, gate):
    gate.most = 0
    model = pipeline_model(pixart_pipeline())
    recorder = Recorder()
    engine.submit(job(model), recorder)
    assert recorder.failure().reason is FailureReason.OUT_OF_MEMORY
    assert model.pipeline.vae.use_tiling
    assert gate.calls == [1, 1]


def test_one_job_that_breaks_the_call_does_not_break_the_others(engine, gate, model):
    # Bytes cannot be tokenized.
    recorders, _ = submit_together(
        engine, gate, [job(model, "fine"), job(model, b"bad"), job(model, "good")]
    )
    assert recorders[1].failure().reason is FailureReason.BROKEN
    for fine in (recorders[0], recorders[2]):
        fine.image()


def test_a_picture_that_is_not_finite_is_no_rejected_content(engine):
    model = pipeline_model(pixart_pipeline())
    model.pipeline.vae.decoder.register_forward_hook(lambda m, a, output: output * float("nan"))
    recorder = Recorder()
    engine.submit(job(model), recorder)
    assert recorder.failure().reason is FailureReason.BROKEN


def test_a_call_that_broke_off_clears_the_device(engine, monkeypatch, turnstile):
    model, cleared = pipeline_model(pixart_pipeline()), threading.Event()
    monkeypatch.setattr(model.pipeline, "maybe_free_model_hooks", cleared.set)
    recorder = Recorder(on_progress=turnstile)
    handle = engine.submit(job(model, steps=90), recorder)
    recorder.wait_for(lambda recorder: recorder.steps)
    handle.cancel()
    turnstile.open()
    assert recorder.failure().reason is FailureReason.CANCELLED
    assert cleared.wait(TIMEOUT)


def test_what_a_text_encoder_does_not_read_is_told(engine, model):
    recorder = Recorder()
    engine.submit(job(model, "x" * 300 + " the end", negative_prompt="short"), recorder)
    (cut,) = recorder.image().truncated
    assert (cut.field, cut.limit) == ("prompt", 299)
    assert cut.ignored.endswith("the end")
    assert "x" * 10 not in cut.ignored


def test_closing_fails_what_is_not_finished(gate, model, monkeypatch):
    engine = WholePipelineEngine("cpu", 1, gate=gate)
    turnstile = Turnstile()
    thread = thread_named("gator-pipelines")
    turnstile.open_when_called(monkeypatch, thread, "join")
    running, waiting = Recorder(on_progress=turnstile), Recorder()
    engine.submit(job(model, steps=90), running)
    running.wait_for(lambda recorder: recorder.steps)
    engine.submit(job(model), waiting)
    engine.close()
    late = Recorder()
    engine.submit(job(model), late)
    for recorder in (running, waiting, late):
        assert recorder.failure().reason is FailureReason.CLOSED
    assert len(running.steps) == 1
    assert not thread.is_alive()


@pytest.mark.parametrize("change", [{"width": 60}, {"height": 0}, {"steps": 0}])
def test_a_job_that_cannot_be_made_is_refused(engine, model, change):
    with pytest.raises(ValueError, match="must be"):
        engine.submit(job(model, **change), Recorder())


def test_previews_are_small_jpegs_every_few_steps(engine):
    previews = previews_of(engine, pipeline_model(with_vae_of(0.13025)))
    assert [preview.step for preview in previews] == [5, 10]
    assert [size_of(preview) for preview in previews] == [(16, 8)] * 2


def test_previews_of_pipelines_with_the_newer_callback(engine):
    previews = previews_of(engine, pipeline_model(sd15_pipeline()))
    assert [(preview.step, size_of(preview)) for preview in previews] == [
        (5, (16, 8)),
        (10, (16, 8)),
    ]


def test_the_preview_decoder_draws_where_there_is_one(engine):
    unknown = with_vae_of(0.5)
    previews = previews_of(engine, pipeline_model(unknown, preview_decoder=tiny_decoder()))
    assert [size_of(preview) for preview in previews] == [(128, 64)] * 2


def test_latents_that_nothing_is_known_of_have_no_previews(engine):
    assert not previews_of(engine, pipeline_model(with_vae_of(0.5)))
    assert factors_for(with_vae_of(0.3611, channels=16).vae) is None
    assert factors_for(None) is None


def test_each_image_of_a_call_has_its_own_preview(engine, gate):
    model = pipeline_model(with_vae_of(0.13025))
    jobs = [job(model, "a cat", seed=n, steps=6) for n in range(2)]
    recorders, _ = submit_together(engine, gate, jobs)
    for recorder in recorders:
        recorder.image()
    alone = [Recorder() for _ in jobs]
    for asked, recorder in zip(jobs, alone, strict=True):
        engine.submit(asked, recorder)
        recorder.image()
    pictures = [
        np.asarray(PIL.Image.open(io.BytesIO(recorder.previews[0].jpeg)))
        for recorder in (*recorders, *alone)
    ]
    assert gate.calls == [1, 2, 1, 1]
    assert psnr(pictures[0], pictures[2]) > 30
    assert psnr(pictures[1], pictures[3]) > 30
    assert psnr(pictures[0], pictures[1]) < 30


def test_a_slow_listener_gets_no_previews_and_the_other_of_its_call_does(engine, gate):
    model = pipeline_model(with_vae_of(0.13025))
    recorders = [Recorder(slow=True), Recorder()]
    submit_together(engine, gate, [job(model, seed=n, steps=6) for n in range(2)], recorders)
    for recorder in recorders:
        recorder.image()
    assert [len(recorder.previews) for recorder in recorders] == [0, 1]


def test_a_preview_that_fails_costs_nothing_but_itself(engine):
    decoder = tiny_decoder(channels=3)
    assert not previews_of(engine, pipeline_model(pixart_pipeline(), preview_decoder=decoder))


def test_no_previews_where_they_are_switched_off(model):
    engine = WholePipelineEngine("cpu", preview_every=0)
    assert not previews_of(engine, pipeline_model(with_vae_of(0.13025)))
    engine.close()


class Packing(SimpleNamespace):
    """What a preview needs of a Flux pipeline."""

    _unpack_latents = staticmethod(FluxPipeline._unpack_latents)

    def __call__(self, prompt):
        raise NotImplementedError

    def set_progress_bar_config(self, **_):
        pass


def test_packed_latents_are_unpacked():
    pipeline = Packing(vae_scale_factor=8, vae=with_vae_of(0.3611, channels=16).vae)
    model = pipeline_model(pipeline, preview_decoder=tiny_decoder(channels=16))
    latents = torch.randn(2, 16, 8, 16)
    packed = FluxPipeline._pack_latents(latents, 2, 16, 8, 16)
    asked = job(model, width=128)
    with torch.inference_mode():
        for place in range(2):
            whole = model.preview(latents, place, asked)
            assert whole.shape == (64, 128, 3)
            assert (model.preview(packed, place, asked) == whole).all()
    other = pipeline_model(pixart_pipeline(), preview_decoder=tiny_decoder())
    assert other.preview(packed, 0, asked) is None, "a layout that is not known"
