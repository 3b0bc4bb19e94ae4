"""What a listener hears while its image is made, and what the engine makes ready before."""

import io
import threading

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import AutoencoderTiny

from frame_gen.diffusion import schedulers
from frame_gen.diffusion.engine import EngineSettings, StepEngine
from frame_gen.diffusion.models import Family, LoadedModel, why_not_steppable
from frame_gen.diffusion.packing import Buckets
from frame_gen.diffusion.previews import MAX_JPEG_BYTES, picture_of, to_jpeg
from frame_gen.diffusion.warming import compiled_graphs, vae_dtype
from tests.support.engine_jobs import TIMEOUT, Recorder, job, loaded


@pytest.fixture
def engine():
    engine = StepEngine("cpu")
    yield engine
    engine.close()


def test_every_step_is_told_with_the_time_left(engine, sd15):
    recorder = Recorder()
    engine.submit(job(loaded(sd15), steps=7), recorder)
    image = recorder.image()
    assert [(p.step, p.steps) for p in recorder.steps] == [(n, 7) for n in range(1, 8)]
    assert all(p.time_left is not None and p.time_left >= 0 for p in recorder.steps)
    assert image.queue_time >= 0
    assert image.generation_time > 0
    assert not recorder.after_end


def test_a_scheduler_that_calls_the_model_more_often_still_counts_the_steps(engine, sd15):
    recorder = Recorder()
    model = loaded(sd15)
    model.scheduler = schedulers.build("pndm", model.scheduler)
    engine.submit(job(model, steps=5), recorder)
    recorder.image()
    assert [p.step for p in recorder.steps][-1] == 5
    assert {p.step for p in recorder.steps} <= set(range(6))


def test_previews_are_small_jpegs_every_few_steps(engine, sdxl):
    class Patient(Recorder):
        """Lets the image go on only when its preview has come."""

        def progress(self, progress):
            super().progress(progress)
            if progress.step in (6, 11):
                self.wait_for(lambda recorder: len(recorder.previews) == progress.step // 5)

    recorder = Patient()
    engine.submit(job(loaded(sdxl), steps=12, width=128), recorder)
    recorder.image()
    assert [preview.step for preview in recorder.previews] == [5, 10]
    for preview in recorder.previews:
        assert len(preview.jpeg) <= MAX_JPEG_BYTES
        with PIL.Image.open(io.BytesIO(preview.jpeg), formats=["JPEG"]) as image:
            assert image.size == (16, 8)


def test_a_slow_listener_gets_no_previews(engine, sd15):
    recorder = Recorder(slow=True)
    engine.submit(job(loaded(sd15), steps=12), recorder)
    recorder.image()
    assert not recorder.previews


def test_only_the_latest_preview_is_made_when_there_is_no_time(engine, sd15):
    reached, free = threading.Event(), threading.Event()

    class Blocking(Recorder):
        def preview(self, preview):
            super().preview(preview)
            reached.set()
            free.wait(TIMEOUT)

    # An image that is there before its preview would do without it.
    blocker = Blocking(on_progress=lambda progress: progress.step == 6 and reached.wait(TIMEOUT))
    recorder = Recorder()
    engine.submit(job(loaded(sd15), steps=6), blocker)
    assert reached.wait(TIMEOUT)

    def on_progress(progress):
        if progress.step == 17:
            free.set()
            recorder.wait_for(lambda recorder: recorder.previews)

    recorder._on_progress = on_progress
    engine.submit(job(loaded(sd15), steps=18), recorder)
    recorder.image()
    blocker.image()
    steps = [preview.step for preview in recorder.previews]
    assert steps[-1] == 15
    assert len(steps) < 3  # of 5, 10 and 15


def test_linear_factors_are_the_published_ones(sd15, sdxl):
    zeros = torch.zeros(1, 4, 2, 3)
    first = zeros.clone()
    first[:, 0] = 1
    small, large = loaded(sd15), loaded(sdxl)
    assert picture_of(small, zeros).shape == (2, 3, 3)
    assert picture_of(small, zeros)[0, 0].tolist() == [128, 128, 128]
    assert picture_of(small, first)[0, 0].tolist() == [165, 154, 154]
    assert picture_of(large, zeros)[0, 0].tolist() == [150, 140, 130]
    assert picture_of(large, first)[0, 0].tolist() == [210, 200, 190]
    assert picture_of(large, zeros * float("nan")).shape == (2, 3, 3)


def test_a_preview_decoder_is_used_where_there_is_one(sd15):
    decoder = AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    model = loaded(sd15, preview_decoder=decoder.eval())
    with torch.inference_mode():
        assert picture_of(model, torch.zeros(1, 4, 8, 16)).shape == (64, 128, 3)


def test_the_worst_preview_still_fits():
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    jpeg = to_jpeg(noise)
    assert len(jpeg) <= MAX_JPEG_BYTES
    with PIL.Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        assert image.size == (320, 180)


def test_words_that_the_model_does_not_see_are_named(engine, sdxl):
    recorder = Recorder()
    asked = job(loaded(sdxl), "x" * 74 + " cat And the dog", negative_prompt="short")
    engine.submit(asked, recorder)
    (truncated,) = recorder.image().truncated
    assert (truncated.field, truncated.limit) == ("prompt", 75)
    assert truncated.ignored == "And the dog"


def test_a_text_is_encoded_once(engine, sdxl):
    model, calls = loaded(sdxl), []
    for encoder in model.text_encoders:
        encoder.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    for seed in range(3):
        recorder = Recorder()
        engine.submit(job(model, "the cat", negative_prompt="ugly", seed=seed), recorder)
        recorder.image()
    assert calls == [2, 2], "both texts in one call of each encoder"


@pytest.mark.timeout(600)
def test_compiled_code_is_made_when_the_model_is_hosted_and_never_for_a_job(sd15):
    # Code that another test had compiled would serve here too.
    torch._dynamo.reset()
    settings = EngineSettings(compile_backend="eager", max_rows=2)
    engine = StepEngine("cpu", settings)
    model = loaded(sd15)
    before = compiled_graphs()
    engine.host(model, [(64, 64)]).result()
    ready = compiled_graphs()
    assert ready - before == 2, "one for each batch size"
    recorders = [Recorder() for _ in range(5)]
    for n, recorder in enumerate(recorders):
        engine.submit(job(model, seed=n, steps=2 + n, guidance=1.0 + n), recorder)
    for recorder in recorders:
        recorder.image()
    engine.close()
    assert compiled_graphs() == ready
    assert engine.recompiles == 0


def test_a_job_that_has_to_wait_again_is_told_so(sd15):
    engine = StepEngine("cpu", EngineSettings(max_rows=4))
    model, urgent, first, stays = loaded(sd15), Recorder(), Recorder(), Recorder()

    def on_progress(progress):
        if progress.step == 1:
            engine.submit(job(model, render="other"), urgent)

    goes = Recorder(on_progress=on_progress)
    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))
    for recorder, steps in ((first, 2), (stays, 90), (goes, 90)):
        engine.submit(job(model, render="one", steps=steps), recorder)
    hold.set()
    goes.wait_for(lambda recorder: recorder.positions == [0, 0])
    urgent.image()
    engine.close()


def test_the_vae_is_warmed_up_on_the_thread_that_decodes(engine, sd15):
    model, threads = loaded(sd15), []
    model.vae.decoder.register_forward_hook(
        lambda module, args, output: threads.append(threading.current_thread().name)
    )
    engine.host(model, [(64, 64)]).result(TIMEOUT)
    recorder = Recorder()
    engine.submit(job(model), recorder)
    recorder.image()
    assert threads == ["gator-decoder"] * 2


def test_the_vae_has_a_format_that_its_gpu_computes_in():
    assert vae_dtype(native_bfloat16=True) is torch.bfloat16
    assert vae_dtype(native_bfloat16=False) is torch.float32


def test_buckets_hold_what_comes():
    buckets = Buckets((8, 2, 4))
    assert list(buckets) == [1, 2, 4, 8]
    assert [buckets.size_for(rows) for rows in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]
    assert [buckets.at_most(rows) for rows in (1, 3, 7, 100)] == [1, 2, 4, 8]
    with pytest.raises(ValueError, match="more than"):
        buckets.size_for(9)
    assert list(EngineSettings(max_rows=3).buckets()) == [1, 2, 3]
    assert list(EngineSettings(compile_backend="inductor").buckets()) == [1, 2, 4, 6, 8, 12, 16]


def test_a_pipeline_becomes_a_model_or_says_why_not(sd15, sdxl):
    model = loaded(sdxl, revision="abc")
    assert (model.family, model.revision) == (Family.SDXL, "abc")
    assert model.scheduler_name == "EulerDiscreteScheduler"
    assert model.zero_empty_negative
    assert loaded(sd15).family is Family.SD15
    assert not why_not_steppable(sd15)
    assert "UNet" in why_not_steppable(object())
    with pytest.raises(ValueError, match="UNet"):
        LoadedModel.from_pipeline(object(), name="x", width=64, height=64)
