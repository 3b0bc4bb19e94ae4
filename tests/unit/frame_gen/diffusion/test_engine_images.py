"""The step engine makes the images that diffusers' own pipelines make, however jobs are mixed."""

import dataclasses
import threading

import pytest
import torch

from frame_gen.diffusion import schedulers
from frame_gen.diffusion.conditioning import Conditioning
from frame_gen.diffusion.engine import EngineSettings, StepEngine
from frame_gen.diffusion.item import Item
from frame_gen.diffusion.job import FailureReason
from tests.support.engine_jobs import TIMEOUT, Recorder, job, loaded, psnr, stock_image

SAME = 50
"""Decibels, where one level more or less in every pixel is 48."""
DIFFERENT = 40


@pytest.fixture(params=["sd15", "sdxl"])
def pipeline(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def engine():
    engine = StepEngine("cpu")
    yield engine
    engine.close()


def run(engine, jobs):
    recorders = [Recorder() for _ in jobs]
    for asked, recorder in zip(jobs, recorders, strict=True):
        engine.submit(asked, recorder)
    return [recorder.image().picture for recorder in recorders]


def with_scheduler(pipeline, name):
    changed = type(pipeline).from_pipe(pipeline, dtype=torch.float32)
    changed.scheduler = schedulers.build(name, pipeline.scheduler)
    changed.set_progress_bar_config(disable=True)
    return changed


@pytest.mark.parametrize(
    "scheduler", ["euler", "ddim", "dpm++", "unipc", "euler-ancestral", "pndm"]
)
def test_mixed_jobs_give_the_images_of_diffusers(engine, pipeline, scheduler):
    stock = with_scheduler(pipeline, scheduler)
    model = loaded(stock)
    jobs = [
        job(model, "a cat and the dog", seed=5, steps=6, guidance=7.5),
        job(model, "a cat", seed=2**64 - 1, steps=9, guidance=1.0),
        job(model, "the dog", negative_prompt="ugly", seed=6, steps=4, guidance=2.5),
        job(model, "another size", negative_prompt="ugly", width=128, steps=5),
    ]
    pictures = run(engine, jobs)
    for asked, picture in zip(jobs, pictures, strict=True):
        assert psnr(picture, stock_image(stock, asked)) >= SAME


@pytest.mark.parametrize(
    "change",
    [{"prompt": "dog"}, {"negative_prompt": "bad"}, {"guidance": 4.0}, {"steps": 5}, {"seed": 2}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_compared_would_show_a_mistake(pipeline, change):
    asked = job(loaded(pipeline), negative_prompt="ugly", steps=6)
    other = stock_image(pipeline, dataclasses.replace(asked, **change))
    assert psnr(stock_image(pipeline, asked), other) < DIFFERENT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_first_noise_is_that_of_diffusers_bit_for_bit(pipeline, dtype):
    asked = job(loaded(pipeline), seed=123456789, width=128)
    asked.model.dtype = dtype
    item = Item(0, asked, Recorder(), 0.0)
    item.prepare(Conditioning((), None), 0.0)
    pipeline.scheduler.set_timesteps(asked.steps)
    generator = torch.Generator("cpu").manual_seed(asked.seed)
    noise = pipeline.prepare_latents(
        1, 4, asked.height, asked.width, dtype, torch.device("cpu"), generator
    )
    assert item.latents.dtype == noise.dtype
    assert torch.equal(item.latents, noise)


def test_a_late_job_joins_within_two_steps_and_changes_nothing(engine, pipeline):
    model = loaded(pipeline)
    first = job(model, "the first", steps=12)
    late = job(model, "the late one", seed=3, steps=5, guidance=2.0)
    order = []
    late_recorder = Recorder(on_progress=lambda progress: order.append(("late", progress.step)))

    def on_progress(progress):
        order.append(("first", progress.step))
        if progress.step == 4:
            engine.submit(late, late_recorder)

    recorder = Recorder(on_progress=on_progress)
    engine.submit(first, recorder)
    assert psnr(recorder.image().picture, stock_image(pipeline, first)) >= SAME
    assert psnr(late_recorder.image().picture, stock_image(pipeline, late)) >= SAME
    assert order.index(("late", 1)) < order.index(("first", 7))
    assert order.index(("late", 5)) < order.index(("first", 12)), "they stepped together"


def test_a_cancelled_job_leaves_within_two_steps_and_changes_nothing(engine, pipeline):
    model = loaded(pipeline)
    kept = [job(model, "kept", seed=n, steps=8) for n in range(2)]
    handles = []

    def on_progress(progress):
        if progress.step == 3:
            handles[0].cancel()

    leaving, recorders = Recorder(on_progress=on_progress), [Recorder() for _ in kept]
    started = threading.Event()
    engine.call(lambda: started.wait(TIMEOUT))
    handles.append(engine.submit(job(model, "leaving", steps=50), leaving))
    for asked, recorder in zip(kept, recorders, strict=True):
        engine.submit(asked, recorder)
    started.set()
    assert leaving.failure().reason is FailureReason.CANCELLED
    assert leaving.steps[-1].step <= 5
    for asked, recorder in zip(kept, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_image(pipeline, asked)) >= SAME


def test_sixteen_threads_get_sixteen_right_images(engine, pipeline):
    model = loaded(pipeline)
    jobs = [
        job(model, f"number {n}", seed=n, steps=3 + n % 4, guidance=1.0 + n % 3) for n in range(16)
    ]
    recorders = [Recorder() for _ in jobs]
    barrier = threading.Barrier(len(jobs))
    # Until all are there: a thread that comes late would have its calls for itself.
    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))

    def submit(asked, recorder):
        barrier.wait()
        engine.submit(asked, recorder)

    threads = [
        threading.Thread(target=submit, args=pair) for pair in zip(jobs, recorders, strict=True)
    ]
    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hold.set()
    for asked, recorder in zip(jobs, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_image(pipeline, asked)) >= SAME
    assert engine.counts.calls < sum(asked.steps for asked in jobs), "calls were shared"


def test_padding_to_a_bucket_changes_nothing(pipeline):
    engine = StepEngine("cpu", EngineSettings(row_buckets=(1, 8)))
    asked = [job(loaded(pipeline), seed=n) for n in range(1)]
    pictures = run(engine, asked)
    engine.close()
    assert psnr(pictures[0], stock_image(pipeline, asked[0])) >= SAME
    assert (engine.counts.rows, engine.counts.padding) == (8, 24)


def test_two_models_take_turns(engine, sd15, sdxl):
    pairs = [(pipe, job(loaded(pipe), seed=n)) for n in range(2) for pipe in (sd15, sdxl)]
    pictures = run(engine, [asked for _, asked in pairs])
    for (pipe, asked), picture in zip(pairs, pictures, strict=True):
        assert psnr(picture, stock_image(pipe, asked)) >= SAME


def test_a_long_render_does_not_hold_up_a_short_one(sd15):
    engine = StepEngine("cpu", EngineSettings(max_rows=4))
    model = loaded(sd15)
    ends = []

    class Named(Recorder):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def finished(self, image):
            ends.append(self.name)
            super().finished(image)

    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))
    recorders = [Named("long") for _ in range(20)]
    for n, recorder in enumerate(recorders):
        engine.submit(job(model, seed=n, steps=3, render="long"), recorder)
    short = Named("short")
    engine.submit(job(model, seed=99, steps=3, render="short"), short)
    hold.set()
    for recorder in (*recorders, short):
        recorder.image()
    engine.close()
    assert ends.index("short") <= 3
    assert recorders[-1].positions[0] > 10
    assert recorders[-1].positions == sorted(recorders[-1].positions, reverse=True)
