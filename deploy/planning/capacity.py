#!/usr/bin/env python3
"""How much of everything a number of renders an hour takes, and what runs out first.

    python deploy/planning/capacity.py --renders-per-hour 1000 --scenes 4 --quality high

A model, not a measurement: each figure of `Cost` says where it comes from. Work is
multiplied out; waiting for a GPU is simulated, because renders come in bursts.
Standard library only.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """What one scene or render takes. Seconds are of one GPU or one CPU core."""

    gpu_seconds_per_frame: float = 2.0
    """SDXL, 1344x768, 25 steps on an H100: about 2 s published for stock pipelines, 0.44 s at
    the matrix rate. Not measured on this code: set what `make bench-gpu` prints."""
    encode_seconds_per_still: float = 0.075
    """Coding a still at 1080p, with the share of all pictures told from it: docs/benchmarks.md."""
    move_seconds_per_frame: float = 0.026
    """Two gRPC hops of a raw 1080p-sized frame, both ends together: 13 ms each, measured."""
    gateway_seconds_per_render: float = 0.02
    """Validation, store and events, without the frames: docs/load.md."""
    frame_bytes: float = 1344 * 768 * 3
    """A frame as it is made, raw RGB."""
    video_bytes_per_still: float = 0.83e6
    """At 1080p, natural stills: docs/benchmarks.md. The fragmented and the stored form."""
    transactions_per_render: float = 8.0
    """Create, claim, phases, publish."""
    transactions_per_scene: float = 1.0
    """A finished scene."""
    progress_per_second: float = 1.0
    """Batches of progress events that a running render writes."""
    puts_per_scene: float = 2.0
    """A frame and its manifest."""
    puts_per_render: float = 4.0
    """The parts of the live form, and the stored one."""


@dataclass(frozen=True)
class Ceiling:
    """What one unit of a resource stands."""

    database_transactions: float = 3_200.0
    """Updates a second of one PostgreSQL on two cores, measured with 16 connections. A larger
    machine stands several times that."""
    object_bytes: float = 1.0e9
    """Bytes a second into one bucket above which its provider is worth asking: an assumption."""
    object_puts: float = 3_500.0
    """Writes a second under one prefix of S3, as Amazon documents."""


QUALITIES = {"draft": 0.25, "standard": 0.55, "high": 1.0, "premium": 3.6}
"""Cost of coding and bytes of a still against 1080p: docs/benchmarks.md."""


@dataclass(frozen=True)
class Load:
    """What is asked."""

    renders_per_hour: float
    scenes: int = 4
    quality: str = "high"
    reused: float = 0.0
    """Part of the frames that is stored already, 0 to 1."""
    burst: float = 3.0
    """Renders of the busiest minutes against the average."""

    @property
    def frames_per_second(self) -> float:
        """Frames that are made, on average."""
        return self.renders_per_hour * self.scenes * (1 - self.reused) / HOUR


@dataclass(frozen=True)
class Demand:
    """What a load takes, on average over an hour."""

    gpus_busy: float
    compositor_cores: float
    gateway_cores: float
    frame_bytes_per_second: float
    """Raw frames from frame_gen to gateway and from there to the compositor."""
    stored_bytes_per_hour: float
    """Frames and videos; multiply with how long they are kept."""
    puts_per_second: float
    transactions_per_second: float
    renders_at_a_time: float


def demand(load: Load, cost: Cost) -> Demand:
    """The averages of `load`."""
    renders = load.renders_per_hour / HOUR
    scale = QUALITIES[load.quality]
    frames = load.frames_per_second
    all_frames = renders * load.scenes
    still_seconds = cost.encode_seconds_per_still * scale
    # A render runs as long as its slowest scene; scenes are made side by side.
    running = renders * (cost.gpu_seconds_per_frame * 2 + still_seconds * load.scenes)
    return Demand(
        gpus_busy=frames * cost.gpu_seconds_per_frame,
        compositor_cores=all_frames * (still_seconds + cost.move_seconds_per_frame / 4),
        gateway_cores=renders * cost.gateway_seconds_per_render
        + all_frames * cost.move_seconds_per_frame / 2,
        frame_bytes_per_second=(frames + all_frames) * cost.frame_bytes,
        stored_bytes_per_hour=HOUR
        * (frames * cost.frame_bytes + all_frames * cost.video_bytes_per_still * scale),
        puts_per_second=frames * cost.puts_per_scene + renders * cost.puts_per_render,
        transactions_per_second=renders * cost.transactions_per_render
        + all_frames * cost.transactions_per_scene
        + running * cost.progress_per_second,
        renders_at_a_time=running,
    )


def gpus_for(load: Load, cost: Cost, wait: float = 10.0, seed: int = 1) -> int:
    """The fewest GPUs at which 95 of 100 frames wait at most `wait` seconds in a burst."""
    bursting = replace(load, renders_per_hour=load.renders_per_hour * load.burst)
    arrivals = list(_arrivals(bursting, seconds=900.0, seed=seed))
    low, high = 1, max(2, math.ceil(demand(bursting, cost).gpus_busy * 2) + 4)
    while low < high:
        middle = (low + high) // 2
        if _wait_of_95(arrivals, middle, cost.gpu_seconds_per_frame) <= wait:
            high = middle
        else:
            low = middle + 1
    return low


def _arrivals(load: Load, seconds: float, seed: int) -> Iterator[float]:
    """When frames are asked for: renders at random times, all their scenes at once."""
    chance = random.Random(seed)  # noqa: S311 - a simulation, the same each time
    now = 0.0
    while load.renders_per_hour and (now := now + chance.expovariate(load.renders_per_hour / HOUR)):
        if now > seconds:
            return
        yield from (now for _ in range(load.scenes) if chance.random() >= load.reused)


def _wait_of_95(arrivals: list[float], gpus: int, service: float) -> float:
    """The 95th percentile of waiting, first come first served."""
    if not arrivals:
        return 0.0
    free = [0.0] * gpus
    waits = []
    for at in arrivals:
        begin = max(at, heapq.heappop(free))
        waits.append(begin - at)
        heapq.heappush(free, begin + service)
    return sorted(waits)[math.ceil(0.95 * len(waits)) - 1]


@dataclass(frozen=True)
class Share:
    """How much of one unit of a resource the busiest minutes take."""

    resource: str
    share: float
    remedy: str


def shares(load: Load, cost: Cost, ceiling: Ceiling) -> list[Share]:
    """What is shared by all replicas, the scarcest first. Replicas are simply added."""
    peak = demand(replace(load, renders_per_hour=load.renders_per_hour * load.burst), cost)
    found = [
        Share(
            "database transactions",
            peak.transactions_per_second / ceiling.database_transactions,
            "a larger PostgreSQL; fewer progress events; renders split by owner",
        ),
        Share(
            "object store writes",
            peak.puts_per_second / ceiling.object_puts,
            "more prefixes: keys begin with two digits of a hash already",
        ),
        Share(
            "object store bytes",
            peak.stored_bytes_per_hour / HOUR / ceiling.object_bytes,
            "shorter frame_ttl; a second bucket",
        ),
    ]
    return sorted(found, key=lambda share: -share.share)


def report(load: Load, cost: Cost, ceiling: Ceiling) -> str:
    """What `load` takes, as text."""
    need = demand(load, cost)
    peak = demand(replace(load, renders_per_hour=load.renders_per_hour * load.burst), cost)
    gpus = gpus_for(load, cost)
    lines = [
        (
            f"{load.renders_per_hour:,.0f} renders an hour, {load.scenes} scenes, {load.quality}, "
            f"bursts of {load.burst:g}x, {load.reused:.0%} of frames reused"
        ),
        f"  GPUs                 {gpus:>10,}   {need.gpus_busy:,.2f} busy on average",
        (
            f"  compositor cores     {math.ceil(peak.compositor_cores):>10,}   "
            f"{need.compositor_cores:,.2f} on average"
        ),
        (
            f"  gateway cores        {math.ceil(peak.gateway_cores):>10,}   "
            f"{need.gateway_cores:,.2f} on average"
        ),
        f"  renders at a time    {peak.renders_at_a_time:>10,.0f}   in a burst",
        (
            f"  database             {peak.transactions_per_second:>10,.0f}   "
            "transactions/s in a burst"
        ),
        f"  objects written      {peak.puts_per_second:>10,.0f}   a second in a burst",
        f"  stored               {need.stored_bytes_per_hour / 1e9:>10,.1f}   GB an hour",
        f"  frames on the wire   {peak.frame_bytes_per_second / 1e6:>10,.0f}   MB/s in a burst",
        "  shared by all, scarcest first:",
    ]
    lines += [
        f"    {share.share:>8.1%}  {share.resource}: {share.remedy}"
        for share in shares(load, cost, ceiling)
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the report of the arguments, or of three sizes if none says how many renders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--renders-per-hour", type=float, help="default: 10, 1,000 and 100,000")
    parser.add_argument("--scenes", type=int, default=4, help="scenes of a render (4)")
    parser.add_argument("--quality", choices=QUALITIES, default="high")
    parser.add_argument("--reused", type=float, default=0.0, help="part of stored frames, 0 to 1")
    parser.add_argument("--burst", type=float, default=3.0, help="busiest minutes / average (3)")
    parser.add_argument(
        "--gpu-seconds",
        type=float,
        default=Cost.gpu_seconds_per_frame,
        help="of a frame, as `make bench-gpu` prints (%(default)s)",
    )
    asked = parser.parse_args()
    cost = Cost(gpu_seconds_per_frame=asked.gpu_seconds)
    sizes = [asked.renders_per_hour] if asked.renders_per_hour else [10.0, 1_000.0, 100_000.0]
    for size in sizes:
        load = Load(size, asked.scenes, asked.quality, asked.reused, asked.burst)
        sys.stdout.write(report(load, cost, Ceiling()) + "\n\n")


if __name__ == "__main__":
    main()
