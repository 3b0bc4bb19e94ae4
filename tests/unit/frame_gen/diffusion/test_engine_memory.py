"""Memory that runs out costs a step, not an image; and what was used is given back."""

import gc
import itertools
import threading
from collections import Counter

import pytest
import torch

from frame_gen.diffusion.engine import EngineSettings, StepEngine
from frame_gen.diffusion.job import FailureReason, Image
from frame_gen.diffusion.ladder import Ladder, Rung
from frame_gen.diffusion.memory import Fault, Phase, fault_of
from frame_gen.diffusion.residence import Part, Residence
from tests.support.engine_jobs import TIMEOUT, Recorder, job, loaded, psnr, stock_image

SAME = 50
RUNGS = {
    Phase.ENCODE: [Rung.TEXT_ENCODERS_TO_CPU, Rung.MODEL_OFFLOAD],
    Phase.DENOISE: list(Rung),
    Phase.DECODE: [Rung.VAE_TILING, Rung.TEXT_ENCODERS_TO_CPU, Rung.MODEL_OFFLOAD],
}


class Gate:
    """Refuses memory as its rule says, and keeps what it refused."""

    def __init__(self, rule):
        self.rule = rule
        self.refused = []

    def enter(self, phase, *, rows, pixels):
        if self.rule(phase, rows, pixels, len(self.refused)):
            self.refused.append((phase, rows))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture
def start():
    engines = []

    def start(rule, **settings):
        engines.append(StepEngine("cpu", EngineSettings(**settings), gate=Gate(rule)))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def submit_together(engine, jobs):
    hold = threading.Event()
    engine.call(lambda: hold.wait(TIMEOUT))
    recorders = [Recorder() for _ in jobs]
    for asked, recorder in zip(jobs, recorders, strict=True):
        engine.submit(asked, recorder)
    hold.set()
    return recorders


def test_fewer_rows_resume_the_same_step(start, sd15):
    engine = start(lambda phase, rows, *_: phase is Phase.DENOISE and rows > 2)
    model = loaded(sd15)
    jobs = [job(model, seed=n, steps=4 + n) for n in range(4)]
    recorders = submit_together(engine, jobs)
    for asked, recorder in zip(jobs, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_image(sd15, asked)) >= SAME
        steps = [progress.step for progress in recorder.steps]
        assert steps == list(range(1, asked.steps + 1)), "each step once"
    assert engine.ladder.row_limit == 2
    assert engine.ladder.counts == Counter({(Phase.DENOISE, Rung.FEWER_ROWS): 2})


def test_rows_of_one_image_go_apart_if_they_must(start, sdxl):
    engine = start(lambda phase, rows, *_: phase is Phase.DENOISE and rows > 1)
    asked = job(loaded(sdxl), negative_prompt="ugly")
    (recorder,) = submit_together(engine, [asked])
    assert psnr(recorder.image().picture, stock_image(sdxl, asked)) >= SAME
    assert engine.ladder.row_limit == 1


@pytest.mark.parametrize("phase", list(Phase))
def test_every_rung_is_taken_and_the_frames_still_come(start, sd15, phase):
    rungs = RUNGS[phase]
    # Two texts are tried one at a time before anything is given up; two rows are halved once.
    refusals = len(rungs) + (phase is Phase.ENCODE)
    engine = start(lambda now, _r, _p, refused: now is phase and refused < refusals)
    asked = job(loaded(sd15))
    (recorder,) = submit_together(engine, [asked])
    assert psnr(recorder.image().picture, stock_image(sd15, asked)) >= SAME
    assert engine.ladder.counts == Counter({(phase, rung): 1 for rung in rungs})


@pytest.mark.parametrize("phase", [Phase.DENOISE, Phase.DECODE])
def test_past_the_last_rung_only_the_image_that_is_too_large_fails(start, sd15, phase):
    engine = start(lambda now, _rows, pixels, _refused: now is phase and pixels > 64 * 64)
    model = loaded(sd15)
    small = [job(model, seed=n, steps=6) for n in range(2)]
    recorders = submit_together(engine, [*small, job(model, width=128)])
    failure = recorders.pop().failure()
    assert failure.reason is FailureReason.OUT_OF_MEMORY
    assert "smaller" in failure.message
    for asked, recorder in zip(small, recorders, strict=True):
        assert psnr(recorder.image().picture, stock_image(sd15, asked)) >= SAME
    assert {rung for now, rung in engine.ladder.counts if now is phase} == set(RUNGS[phase])


def test_no_memory_for_texts_fails_their_image_only(start, sd15):
    engine = start(lambda phase, *_: phase is Phase.ENCODE)
    model = loaded(sd15)
    first, second = submit_together(engine, [job(model, "one"), job(model, "two")])
    assert first.failure().reason is FailureReason.OUT_OF_MEMORY
    assert second.failure().reason is FailureReason.OUT_OF_MEMORY


def test_a_tiled_picture_is_close_to_the_whole_one(start, sd15):
    engine = start(lambda *_: False, tile_above=64 * 64)
    asked = job(loaded(sd15), width=192, height=128)
    (recorder,) = submit_together(engine, [asked])
    tiled = recorder.image().picture
    assert tiled.shape == (128, 192, 3)
    assert 20 < psnr(tiled, stock_image(sd15, asked)) < SAME


@pytest.mark.timeout(600)
def test_memory_is_back_at_its_baseline_after_200_requests(start, sd15, sdxl):
    calls = {phase: itertools.count() for phase in Phase}
    engine = start(
        lambda phase, *_: next(calls[phase]) % 25 == 24,
        calm=0.0,
        cached_embeddings=4,
        preview_every=1,
    )
    models = [loaded(sd15), loaded(sdxl)]

    def requests(count):
        recorders = []
        for n in range(count):
            recorder = Recorder()
            asked = job(models[n % 2], f"prompt {n % 7}", seed=n, steps=2)
            handle = engine.submit(asked, recorder)
            if n % 10 == 9:
                handle.cancel()
            recorders.append(recorder)
        ends = [recorder.end() for recorder in recorders]
        assert all(isinstance(end, Image) or end.reason is FailureReason.CANCELLED for end in ends)
        assert sum(isinstance(end, Image) for end in ends) >= count * 0.9
        assert all(len(recorder.ends) == 1 for recorder in recorders)
        assert not any(recorder.after_end for recorder in recorders)

    def tensors():
        # The cached texts are the same, whichever came last before.
        for n in range(4):
            recorder = Recorder()
            engine.submit(job(models[0], f"last {n}", steps=2), recorder)
            recorder.image()
        engine.call(lambda: None).result(TIMEOUT)
        # The decoder may still be at previews of images that were cancelled.
        decoder = engine._decoder
        decoder.warm_up(models[0], lambda: None)
        while decoder._finished or decoder._glimpses:
            decoder.warm_up(models[0], lambda: None)
        decoder.warm_up(models[0], lambda: None)
        gc.collect()
        found = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        return len(found), sum(thing.nelement() for thing in found)

    requests(20)
    baseline = tensors()
    requests(200)
    assert tensors() == baseline
    assert not engine._items
    assert len(engine._queue) == 0
    assert {phase for phase, _ in engine.ladder.counts} >= {Phase.DENOISE, Phase.DECODE}


def test_faults_are_told_apart():
    assert fault_of(torch.OutOfMemoryError("x")) is Fault.OUT_OF_MEMORY
    assert fault_of(MemoryError()) is Fault.OUT_OF_MEMORY
    said = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    assert fault_of(RuntimeError(said)) is Fault.OUT_OF_MEMORY
    said = "FIND was unable to find an engine to execute this computation"
    assert fault_of(RuntimeError(said)) is Fault.OUT_OF_MEMORY
    assert fault_of(RuntimeError("MPS backend out of memory")) is Fault.OUT_OF_MEMORY
    assert fault_of(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")) is Fault.OUT_OF_MEMORY
    assert fault_of(RuntimeError("CUDA error: an illegal memory access")) is Fault.DEVICE_LOST
    assert fault_of(torch.AcceleratorError("CUDA error: unspecified launch failure")) is (
        Fault.DEVICE_LOST
    )
    for said in ("unspecified launch failure", "uncorrectable ECC error encountered"):
        assert fault_of(RuntimeError(f"Triton Error [CUDA]: {said}")) is Fault.DEVICE_LOST
    assert fault_of(RuntimeError("shapes do not match")) is Fault.OTHER
    assert fault_of(ValueError("out of memory")) is Fault.OTHER


def test_the_ladder_goes_down_rung_by_rung_and_up_again():
    ladder = Ladder(16, calm=60.0)
    taken = [ladder.descend(Phase.DENOISE, rows=rows, now=0.0) for rows in (16, 8, 1, 1, 1, 1)]
    assert taken == [Rung.FEWER_ROWS, Rung.FEWER_ROWS, *list(Rung)[1:], None]
    assert ladder.row_limit == 4
    assert ladder.relax(59.0) is None
    back = [ladder.relax(60.0 * n) for n in range(1, 8)]
    assert back == [
        Rung.MODEL_OFFLOAD,
        Rung.TEXT_ENCODERS_TO_CPU,
        Rung.VAE_TILING,
        Rung.FEWER_ROWS,
        Rung.FEWER_ROWS,
        None,
        None,
    ]
    assert ladder.row_limit == 16
    assert not ladder.strained


def test_a_cap_on_rows_stays():
    ladder = Ladder(16, calm=60.0)
    ladder.cap_rows(6)
    assert ladder.row_limit == 6
    ladder.descend(Phase.DENOISE, rows=8, now=0.0)
    assert ladder.row_limit == 4
    assert ladder.relax(60.0) is Rung.FEWER_ROWS
    assert ladder.row_limit == 6
    assert not ladder.strained
    assert ladder.relax(600.0) is None
    ladder.cap_rows(8)
    assert ladder.row_limit == 6


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("compiler", "most"), [("eager", 2), (None, 4)])
def test_rows_for_which_nothing_was_compiled_are_not_tried_later(start, sd15, compiler, most):
    torch._dynamo.reset()
    tight = threading.Event()
    tight.set()
    engine = start(
        lambda phase, rows, *_: tight.is_set() and phase is Phase.DENOISE and rows > 2,
        calm=0.0,
        max_rows=4,
        row_buckets=(1, 2, 4),
        compile_backend=compiler,
    )
    model = loaded(sd15)
    engine.host(model, [(64, 64)]).result()
    assert engine._gate.refused == [(Phase.DENOISE, 4)]
    tight.clear()
    jobs = [job(model, seed=n, steps=4) for n in range(4)]
    for recorder in submit_together(engine, jobs):
        recorder.image()
    assert engine.ladder.row_limit == most
    assert not engine.ladder.strained
    assert engine.recompiles == 0


def test_a_rung_that_is_needed_again_is_kept_longer():
    ladder = Ladder(16, calm=60.0)
    ladder.descend(Phase.DECODE, rows=1, now=0.0)
    assert ladder.relax(60.0) is Rung.VAE_TILING
    ladder.descend(Phase.DECODE, rows=1, now=61.0)
    assert ladder.relax(180.0) is None
    assert ladder.relax(181.0) is Rung.VAE_TILING


class Movable:
    """Stands where a module stands, and keeps where it was put."""

    def __init__(self):
        self.place = "cuda"

    def to(self, device):
        self.place = device.type


def test_offloaded_modules_are_on_the_device_only_while_they_work(sd15):
    ladder = Ladder(4, calm=60.0)
    residence = Residence(torch.device("cuda"), ladder)
    models = [loaded(sd15), loaded(sd15)]
    for model in models:
        model.unet, model.vae, model.text_encoders = Movable(), Movable(), (Movable(), Movable())
        residence.host(model)

    def places(model):
        encoders = {encoder.place for encoder in model.text_encoders}
        return [*encoders, model.unet.place, model.vae.place]

    def working(part):
        with residence.using(models[0], part):
            return places(models[0]), places(models[1])

    everywhere = ["cuda", "cuda", "cuda"]
    assert working(Part.UNET) == (everywhere, everywhere)
    ladder.descend(Phase.ENCODE, rows=1, now=0.0)
    assert working(Part.TEXT) == (["cpu", "cuda", "cuda"], ["cpu", "cuda", "cuda"])
    ladder.descend(Phase.ENCODE, rows=1, now=0.0)
    assert working(Part.UNET) == (["cpu", "cuda", "cpu"], ["cpu"] * 3)
    assert working(Part.VAE) == (["cpu", "cpu", "cuda"], ["cpu"] * 3)
    assert working(Part.TEXT) == (["cpu", "cpu", "cuda"], ["cpu"] * 3)
    ladder.relax(60.0)
    assert working(Part.UNET) == (["cpu", "cuda", "cuda"], ["cpu", "cuda", "cuda"])
    ladder.relax(120.0)
    assert working(Part.TEXT) == (everywhere, everywhere)


def test_strained_parts_work_one_at_a_time(sd15):
    ladder = Ladder(4)
    residence = Residence(torch.device("cpu"), ladder)
    model = loaded(sd15)
    residence.host(model)
    working, most = Counter(), []
    lock = threading.Lock()

    def work(part):
        for _ in range(50):
            with residence.using(model, part):
                with lock:
                    working["now"] += 1
                    most.append(working["now"])
                with lock:
                    working["now"] -= 1

    ladder.descend(Phase.DECODE, rows=1, now=0.0)
    threads = [threading.Thread(target=work, args=(part,)) for part in (Part.UNET, Part.VAE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
