"""Whole pipelines: the images of diffusers, made together where settings are equal."""

import dataclasses
import threading

import numpy as np
import pytest
import torch

from frame_gen.diffusion.job import FailureReason, Job
from frame_gen.diffusion.loaded_pipeline import LoadedPipeline
from frame_gen.diffusion.whole_pipeline import WholePipelineEngine
from tests.support.engine_jobs import Recorder, psnr
from tests.support.tiny_models import sd15_pipeline
from tests.support.tiny_transformers import pixart_pipeline


def pipeline_model(pipeline):
    return LoadedPipeline("tiny", "r", pipeline, torch.device("cpu"), torch.float32, 128, 64)


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
        assert self.open.wait(60)
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


def job(model, prompt="a cat", **more):
    values = {"width": 64, "height": 64, "steps": 3, "guidance": 4.0, "seed": 1, **more}
    return Job(model, prompt, **values)


def submit_together(engine, gate, jobs):
    """Submits while a first job holds the engine, so that the others wait side by side."""
    gate.open.clear()
    first = Recorder()
    engine.submit(job(jobs[0].model, "first", steps=1), first)
    assert gate.entered.wait(60)
    recorders = [Recorder() for _ in jobs]
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


def test_a_cancelled_job_leaves_the_others_of_its_call_alone(engine, gate, model, stock):
    jobs = [job(model, "stays", steps=8), job(model, "goes", steps=8)]
    (stays, goes), handles = submit_together(engine, gate, jobs)
    goes.wait_for(lambda recorder: recorder.steps)
    handles[1].cancel()
    assert goes.failure().reason is FailureReason.CANCELLED
    assert len(goes.steps) < 8
    assert psnr(stays.image().picture, stock_picture(stock, jobs[0])) > 50


def test_a_call_that_nobody_wants_ends_at_its_next_step(engine, model):
    recorder = Recorder(on_progress=lambda progress: handle.cancel())
    waiting = Recorder()
    handle = engine.submit(job(model, steps=90), recorder)
    assert recorder.failure().reason is FailureReason.CANCELLED
    assert len(recorder.steps) <= 2
    engine.submit(job(model), waiting)
    waiting.image()


def test_a_job_that_waits_can_be_cancelled_while_another_runs(engine, gate, model):
    long, waits = Recorder(), Recorder()
    runs = engine.submit(job(model, steps=90), long)
    long.wait_for(lambda recorder: recorder.steps)
    handle = engine.submit(job(model, steps=2), waits)
    waits.wait_for(lambda recorder: recorder.positions)
    handle.cancel()
    assert waits.failure().reason is FailureReason.CANCELLED
    assert not long.ends
    runs.cancel()
    long.end()


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


def test_what_a_text_encoder_does_not_read_is_told(engine, model):
    recorder = Recorder()
    engine.submit(job(model, "x" * 300 + " the end", negative_prompt="short"), recorder)
    (cut,) = recorder.image().truncated
    assert (cut.field, cut.limit) == ("prompt", 299)
    assert cut.ignored.endswith("the end")
    assert "x" * 10 not in cut.ignored


def test_closing_fails_what_is_not_finished(gate, model):
    before = threading.active_count()
    engine = WholePipelineEngine("cpu", 1, gate=gate)
    running, waiting = Recorder(), Recorder()
    engine.submit(job(model, steps=90), running)
    running.wait_for(lambda recorder: recorder.steps)
    engine.submit(job(model), waiting)
    engine.close()
    late = Recorder()
    engine.submit(job(model), late)
    for recorder in (running, waiting, late):
        assert recorder.failure().reason is FailureReason.CLOSED
    assert threading.active_count() == before


@pytest.mark.parametrize("change", [{"width": 60}, {"height": 0}, {"steps": 0}])
def test_a_job_that_cannot_be_made_is_refused(engine, model, change):
    with pytest.raises(ValueError, match="must be"):
        engine.submit(job(model, **change), Recorder())
