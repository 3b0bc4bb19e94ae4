"""What goes wrong with one job is told to its listener, and touches no other job."""

import threading
import time

import numpy as np
import pytest
import torch

from frame_gen.diffusion.engine import StepEngine
from frame_gen.diffusion.job import FailureReason
from tests.support.engine_jobs import (
    TIMEOUT,
    Recorder,
    Turnstile,
    job,
    loaded,
    psnr,
    stock_image,
    thread_named,
)

SAME = 50


@pytest.fixture
def engine():
    engine = StepEngine("cpu")
    yield engine
    engine.close()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def submit_together(engine, *jobs):
    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))
    recorders = [Recorder() for _ in jobs]
    for asked, recorder in zip(jobs, recorders, strict=True):
        engine.submit(asked, recorder)
    hold.set()
    return recorders


def fail_when(model, condition, error):
    """Makes the UNet raise for calls whose timesteps meet the condition."""

    def hook(module, args):
        if condition(args[1]):
            raise error

    model.unet.register_forward_pre_hook(hook)


def test_a_fault_in_a_shared_call_fails_the_job_that_it_belongs_to(engine, sd15):
    model = loaded(sd15)
    # Timestep 901 comes with ten steps only.
    fail_when(model, lambda timesteps: (timesteps == 901).any(), ZeroDivisionError("secret"))
    good = [job(model, seed=1, steps=4), job(model, seed=2, steps=5)]
    first, bad, second = submit_together(engine, good[0], job(model, steps=10), good[1])
    failure = bad.failure()
    assert failure.reason is FailureReason.BROKEN
    assert "secret" not in failure.message
    for asked, recorder in zip(good, (first, second), strict=True):
        assert psnr(recorder.image().picture, stock_image(sd15, asked)) >= SAME


def test_a_text_that_cannot_be_encoded_fails_its_job_only(engine, sd15):
    model = loaded(sd15)
    token = model.tokenizers[0]("q").input_ids[1]

    def hook(module, args):
        if (args[0] == token).any():
            raise ValueError("no q")

    model.text_encoders[0].register_forward_pre_hook(hook)
    good, bad = submit_together(engine, job(model, "the cat"), job(model, "q"))
    assert bad.failure().reason is FailureReason.BROKEN
    assert psnr(good.image().picture, stock_image(sd15, job(model, "the cat"))) >= SAME


def test_numbers_that_overflow_are_no_picture(engine, sd15):
    model = loaded(sd15)
    model.unet.register_forward_hook(lambda module, args, output: (output[0] * float("inf"),))
    (recorder,) = submit_together(engine, job(model))
    assert recorder.failure().reason is FailureReason.BROKEN


def test_a_flagged_picture_is_rejected_content(engine, sd15):
    seen = []

    def check(picture):
        seen.append(picture)
        return True

    model = loaded(sd15, safety_check=check)
    (recorder,) = submit_together(engine, job(model))
    assert recorder.failure().reason is FailureReason.CONTENT_REJECTED
    assert seen[0].shape == (64, 64, 3)
    assert seen[0].dtype == np.uint8


def test_a_black_picture_is_rejected_content(engine, sd15):
    model = loaded(sd15)
    model.vae.decoder.register_forward_hook(lambda m, a, output: torch.full_like(output, -1.0))
    (recorder,) = submit_together(engine, job(model))
    assert recorder.failure().reason is FailureReason.CONTENT_REJECTED


def test_a_broken_safety_checker_shows_nothing(engine, sd15):
    def check(picture):
        raise RuntimeError("broken")

    (recorder,) = submit_together(engine, job(loaded(sd15, safety_check=check)))
    assert recorder.failure().reason is FailureReason.BROKEN


def test_memory_that_runs_out_in_the_safety_checker_is_tried_again(engine, sd15):
    calls = []

    def check(picture):
        calls.append(picture)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("refused")
        return False

    (recorder,) = submit_together(engine, job(loaded(sd15, safety_check=check)))
    recorder.image()
    assert len(calls) == 2


def test_a_picture_that_is_not_finite_is_no_rejected_content(engine, sd15):
    model = loaded(sd15)
    model.vae.decoder.register_forward_hook(lambda m, a, output: output * float("nan"))
    (recorder,) = submit_together(engine, job(model))
    assert recorder.failure().reason is FailureReason.BROKEN


def test_a_model_that_always_fails_is_not_hosted(engine, sd15):
    model = loaded(sd15)
    fail_when(model, lambda timesteps: True, ZeroDivisionError("secret"))
    with pytest.raises(RuntimeError, match="fails at every call"):
        engine.host(model, [(64, 64)]).result(TIMEOUT)


def test_a_listener_that_fails_hurts_no_one(engine, sd15):
    class Failing(Recorder):
        def progress(self, progress):
            raise RuntimeError("the listener is broken")

        def wants_preview(self):
            raise RuntimeError("the listener is broken")

    model, failing, other = loaded(sd15), Failing(), Recorder()
    engine.submit(job(model, steps=6), failing)
    engine.submit(job(model, seed=2), other)
    failing.image()
    other.image()


def test_a_deadline_acts_within_two_steps(sd15):
    clock = Clock()
    engine = StepEngine("cpu", clock=clock)

    def on_progress(progress):
        if progress.step == 3:
            clock.now += 10

    recorder = Recorder(on_progress=on_progress)
    engine.submit(job(loaded(sd15), steps=50, deadline=1005.0), recorder)
    failure = recorder.failure()
    engine.close()
    assert failure.reason is FailureReason.DEADLINE_EXCEEDED
    assert "of 50 steps" in failure.message
    assert recorder.steps[-1].step <= 5


def test_a_deadline_that_has_passed_already_starts_nothing(engine, sd15):
    recorder = Recorder()
    engine.submit(job(loaded(sd15), deadline=time.monotonic() - 1), recorder)
    assert recorder.failure().reason is FailureReason.DEADLINE_EXCEEDED
    assert not recorder.steps


def test_a_job_that_is_cancelled_while_it_waits_never_starts(engine, sd15):
    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))
    recorder = Recorder()
    handle = engine.submit(job(loaded(sd15)), recorder)
    handle.cancel()
    handle.cancel()
    hold.set()
    assert recorder.failure().reason is FailureReason.CANCELLED
    assert not recorder.steps


def test_cancelling_after_the_end_does_nothing(engine, sd15):
    recorder = Recorder()
    handle = engine.submit(job(loaded(sd15)), recorder)
    recorder.image()
    handle.cancel()
    engine.call(lambda: None).result(TIMEOUT)
    assert len(recorder.ends) == 1


def test_a_lost_device_fails_every_job_at_once(engine, sd15):
    model = loaded(sd15)
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    fail_when(model, lambda timesteps: True, error)
    recorders = submit_together(engine, *[job(model, seed=n) for n in range(3)])
    recorders += submit_together(engine, job(model))
    assert {recorder.failure().reason for recorder in recorders} == {FailureReason.DEVICE_LOST}
    assert engine.lost


def test_closing_answers_every_job_and_leaves_no_thread(sd15, monkeypatch):
    engine, turnstile = StepEngine("cpu"), Turnstile()
    threads = [thread_named(name) for name in ("gator-step-engine", "gator-decoder")]
    turnstile.open_when_called(monkeypatch, threads[0], "join")
    model = loaded(sd15)
    recorders = [Recorder(on_progress=turnstile), *(Recorder() for _ in range(19))]
    for n, recorder in enumerate(recorders):
        engine.submit(job(model, seed=n, steps=100), recorder)
    recorders[0].wait_for(lambda recorder: recorder.steps)
    engine.close()
    assert {recorder.failure().reason for recorder in recorders} == {FailureReason.CLOSED}
    assert not any(thread.is_alive() for thread in threads)
    late = Recorder()
    engine.submit(job(model), late)
    assert late.failure().reason is FailureReason.CLOSED
    with pytest.raises(RuntimeError, match="closed"):
        engine.call(lambda: None)


def test_a_model_can_be_released(engine, sd15):
    model, turnstile = loaded(sd15), Turnstile()
    recorder = Recorder(on_progress=turnstile)
    engine.host(model).result(TIMEOUT)
    engine.submit(job(model, steps=100), recorder)
    recorder.wait_for(lambda recorder: recorder.steps)
    released = engine.release(model)
    turnstile.open()
    released.result(TIMEOUT)
    assert recorder.failure().reason is FailureReason.CLOSED
    assert not engine._residence.models


def test_work_that_is_not_stepped_runs_between_steps(engine):
    thread = engine.call(threading.current_thread).result(TIMEOUT)
    assert thread.name == "gator-step-engine"
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda: 1 / 0).result(TIMEOUT)


@pytest.mark.parametrize("change", [{"width": 60}, {"height": 0}, {"steps": 0}])
def test_a_job_that_cannot_work_is_refused_at_once(engine, sd15, change):
    with pytest.raises(ValueError, match=r"multiple|step"):
        engine.submit(job(loaded(sd15), **change), Recorder())
