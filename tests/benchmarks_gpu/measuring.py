"""One model, measured as diffusers' stock pipeline runs it and as the step engine does."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from frame_gen.diffusion.catalog import Dtype
from frame_gen.diffusion.engine import EngineSettings, StepEngine
from frame_gen.diffusion.footprint import Weights, predict
from frame_gen.diffusion.job import Job
from frame_gen.diffusion.memory import release_unused
from frame_gen.diffusion.models import LoadedModel
from frame_gen.diffusion.warming import compiled_graphs
from tests.benchmarks_gpu.architectures import Architecture
from tests.benchmarks_gpu.clients import (
    Load,
    arrivals,
    as_they_come,
    at_once,
    one_by_one,
    steps_until_it_joins,
)
from tests.benchmarks_gpu.device import memory_in_use, peak_of, seconds

CLIENTS = 8
GUIDANCE = 7.5
UTILISATION = 0.9
"""Of the stock pipeline's capacity, at which orders arrive."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    device: torch.device
    dtype: torch.dtype
    steps: int
    images: int
    """In each load."""
    repeats: int
    turns: int
    """Of the loads that are compared with each other; the median counts."""
    rows: int
    """Of a call of the UNet at most."""
    compile: bool


@dataclass
class Figures:
    """What was measured of one model."""

    name: str
    size: str
    stock_alone: float = 0
    """Seconds."""
    ours_alone: float = 0
    """Seconds."""
    uniform: Load = field(default_factory=lambda: Load(1, ()))
    mixed: Load = field(default_factory=lambda: Load(1, ()))
    with_previews: Load = field(default_factory=lambda: Load(1, ()))
    arriving: Load = field(default_factory=lambda: Load(1, ()))
    stock_arriving: Load = field(default_factory=lambda: Load(1, ()))
    steps_to_join: int = 0
    predicted: int = 0
    """Bytes."""
    measured: int = 0
    """Bytes."""
    flops: int = 0
    """Of one image."""
    compiled_late: int = 0
    """Graphs that were compiled while images were asked for."""
    warm_up: float = 0
    """Seconds."""


def measure(architecture: Architecture, plan: Plan) -> Figures:
    """All figures of one model."""
    entry = architecture.entry
    figures = Figures(entry.name, f"{entry.width}x{entry.height}")
    release_unused(plan.device)
    before = memory_in_use(plan.device)
    pipeline = architecture.build(plan.device, plan.dtype)
    pipeline.set_progress_bar_config(disable=True)
    _stock(pipeline, architecture, plan, figures)
    figures.predicted = _predicted(pipeline, architecture, plan)
    model = LoadedModel.from_pipeline(
        pipeline, name=entry.name, device=plan.device, width=entry.width, height=entry.height
    )
    del pipeline
    with peak_of(plan.device, before) as peak, _engine(model, plan, figures) as engine:
        _ours(engine, model, plan, figures)
    figures.measured = peak.bytes
    return figures


def _stock(pipeline: Any, architecture: Architecture, plan: Plan, figures: Figures) -> None:
    entry = architecture.entry

    def image(steps: int, seed: int = 0) -> None:
        pipeline(
            f"a picture, number {seed}",
            width=entry.width,
            height=entry.height,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="np",
        )

    operations = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            image(steps)
        operations.append(counter.get_total_flops())
    figures.flops = operations[0] + (plan.steps - 1) * (operations[1] - operations[0])
    image(plan.steps)
    figures.stock_alone = median(
        seconds(plan.device, lambda seed=seed: image(plan.steps, seed))
        for seed in range(plan.repeats)
    )


def _predicted(pipeline: Any, architecture: Architecture, plan: Plan) -> int:
    parts = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
    }
    formats = {
        torch.float32: Dtype.FLOAT32,
        torch.float16: Dtype.FLOAT16,
        torch.bfloat16: Dtype.BFLOAT16,
    }
    rows = min(plan.rows, 2 * CLIENTS)
    return predict(architecture.entry, Weights(parts), formats[plan.dtype], rows).peak


@contextmanager
def _engine(model: LoadedModel, plan: Plan, figures: Figures) -> Iterator[StepEngine]:
    settings = EngineSettings(
        max_rows=plan.rows, compile_backend="inductor" if plan.compile else None
    )
    engine = StepEngine(plan.device, settings)
    try:
        started = time.perf_counter()
        engine.host(model, [(model.width, model.height)]).result()
        figures.warm_up = time.perf_counter() - started
        yield engine
    finally:
        engine.close()


def _ours(engine: StepEngine, model: LoadedModel, plan: Plan, figures: Figures) -> None:
    jobs = [_job(model, plan, seed) for seed in range(plan.images)]
    graphs = compiled_graphs()
    at_once(engine, jobs[:2], 1, previews=False)
    alone = at_once(engine, jobs[: plan.repeats], 1, previews=False)
    figures.ours_alone = median(alone.latencies)
    _in_turns(engine, jobs, plan, figures)
    figures.steps_to_join = steps_until_it_joins(engine, jobs[: CLIENTS - 1], jobs[-1])
    times = arrivals(UTILISATION / figures.stock_alone, plan.images)
    figures.arriving = as_they_come(engine, jobs, times)
    figures.stock_arriving = one_by_one(times, figures.stock_alone)
    figures.compiled_late = compiled_graphs() - graphs


def _in_turns(engine: StepEngine, jobs: list[Job], plan: Plan, figures: Figures) -> None:
    """Loads that are compared with each other take turns, so that a busy machine troubles all."""
    mixed = list(_mixed(jobs, plan))
    turns = [
        (
            at_once(engine, jobs, CLIENTS, previews=False),
            at_once(engine, jobs, CLIENTS, previews=True),
            at_once(engine, mixed, CLIENTS, previews=False),
        )
        for _ in range(plan.turns)
    ]
    figures.uniform, figures.with_previews, figures.mixed = (
        sorted(loads, key=lambda load: load.rate)[len(loads) // 2]
        for loads in zip(*turns, strict=True)
    )


def _job(model: LoadedModel, plan: Plan, seed: int) -> Job:
    return Job(
        model,
        f"a picture, number {seed}",
        width=model.width,
        height=model.height,
        steps=plan.steps,
        guidance=GUIDANCE,
        seed=seed,
        render=f"render {seed}",
    )


def _mixed(jobs: list[Job], plan: Plan) -> Iterator[Job]:
    """The same work in all, with other steps, guidance and negative prompts each."""
    chance = random.Random(1)
    spread = max(1, plan.steps // 3)
    for first, second in zip(jobs[::2], jobs[1::2], strict=True):
        change = chance.randint(-spread, spread)
        for job, steps in ((first, plan.steps + change), (second, plan.steps - change)):
            yield replace(
                job,
                steps=steps,
                guidance=chance.uniform(2, 12),
                negative_prompt=chance.choice(["", "blurred", "text, frame"]),
            )
