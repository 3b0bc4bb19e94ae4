"""Measures image generation on this machine's device against diffusers' stock pipeline.

Full-size Stable Diffusion 1.5 and SDXL with random weights: speed and memory
do not depend on what the weights are. The stock pipeline is called for one
image after the other, in the same number format, without torch.compile, in the
same run on the same device.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles

import diffusers
import torch

from tests.benchmarks_gpu.architectures import architecture
from tests.benchmarks_gpu.clients import Load
from tests.benchmarks_gpu.device import matrix_rate
from tests.benchmarks_gpu.measuring import CLIENTS, UTILISATION, Figures, Plan, measure

Row = tuple[str, str, str, str, str]
"""Of what, the stock pipeline's figure, ours, their ratio, the target."""

TARGETS_AT_ONCE = {"sd15": "at least 3x", "sdxl": "at least 2x"}


def main() -> None:
    arguments = _arguments()
    device = _device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if device.type == "cpu":
        torch.set_num_threads(1 if arguments.tiny else torch.get_num_threads())
    plan = Plan(
        device=device,
        dtype=dtype,
        steps=arguments.steps,
        images=arguments.images,
        repeats=arguments.repeats,
        turns=arguments.turns,
        rows=2 * CLIENTS,
        compile=arguments.compile,
    )
    rate = matrix_rate(device, dtype)
    print(_setting(plan, rate, tiny=arguments.tiny), flush=True)
    everything = []
    for name in arguments.models:
        figures = measure(architecture(name, tiny=arguments.tiny), plan)
        everything.append(figures)
        print(f"\n### {figures.name}, {figures.size}, {plan.steps} steps\n")
        print(table([*rows(figures, rate)]), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(f) for f in everything], indent=1))
    if late := [f.name for f in everything if f.compiled_late]:
        sys.exit(f"failed: graphs were compiled while images were made, by {', '.join(late)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks_gpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--tiny", action="store_true", help="tiny models, for a look on a CPU")
    parser.add_argument("--models", nargs="+", default=["sd15", "sdxl"], choices=["sd15", "sdxl"])
    parser.add_argument("--device", default="auto", help="cuda, mps, cpu; the best that is there")
    parser.add_argument("--steps", type=int, default=25, help="of an image (%(default)s)")
    parser.add_argument("--images", type=int, default=16, help="in each load (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of an image alone (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of each load (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile our UNet with inductor")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    arguments = parser.parse_args()
    if arguments.images % 2 or arguments.images < max(CLIENTS, arguments.repeats):
        parser.error(f"--images must be even, and at least {CLIENTS} and --repeats")
    return arguments


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _setting(plan: Plan, rate: float, *, tiny: bool) -> str:
    name = platform.processor() or platform.machine()
    if plan.device.type == "cuda":
        name = torch.cuda.get_device_name(plan.device)
    return (
        f"{'TINY MODELS: figures show only that this works. ' if tiny else ''}"
        f"{name} ({plan.device.type}), {str(plan.dtype).removeprefix('torch.')}, matrix product "
        f"{rate / 1e12:.3g} TFLOP/s; torch {torch.__version__}, diffusers "
        f"{diffusers.__version__}; ours {'compiled' if plan.compile else 'not compiled'}"
        f"{'' if plan.device.type == 'cuda' else '; memory measured is what the process grew by'}"
    )


def rows(figures: Figures, rate: float) -> Iterator[Row]:
    stock, ours = figures.stock_alone, figures.ours_alone
    yield "alone, s an image", f"{stock:.3f}", f"{ours:.3f}", f"{stock / ours:.2f}x", "1.5x"
    uniform = figures.uniform.rate
    yield (
        f"{CLIENTS} at once, images/s",
        f"{1 / stock:.3f}",
        f"{uniform:.3f}",
        f"{uniform * stock:.2f}x",
        TARGETS_AT_ONCE[figures.name],
    )
    mixed = figures.mixed.rate
    yield (
        "the same, mixed steps and guidance",
        "",
        f"{mixed:.3f}",
        f"{100 * mixed / uniform:.0f}% of uniform",
        "at least 95%",
    )
    shown = figures.with_previews
    yield (
        f"the same, {shown.previews / len(shown.latencies):.0f} previews an image",
        "",
        f"{shown.rate:.3f}",
        f"{100 * (uniform / shown.rate - 1):+.1f}% time",
        "",
    )
    for percent in (50, 95):
        before = _percentile(figures.stock_arriving, percent)
        after = _percentile(figures.arriving, percent)
        yield (
            f"arrivals at {UTILISATION} of stock, p{percent} s",
            f"{before:.3f} (computed)",
            f"{after:.3f}",
            f"{before / after:.2f}x",
            "",
        )
    yield "late joiner, steps until its first", "", f"{figures.steps_to_join}", "", "at most 2"
    yield (
        "peak memory, GB (predicted | measured)",
        "",
        f"{figures.predicted / 1e9:.3f} | {figures.measured / 1e9:.3f}",
        f"{100 * (figures.predicted / max(figures.measured, 1) - 1):+.0f}%",
        "within 10%",
    )
    per_image = f"{figures.flops / 1e12:.3g} TFLOP an image"
    for what, speed in (("alone", 1 / ours), (f"{CLIENTS} at once", uniform)):
        yield (
            f"model FLOP use, {what}",
            f"{100 * figures.flops / stock / rate:.1f}%",
            f"{100 * figures.flops * speed / rate:.1f}%",
            per_image,
            "",
        )
    yield "compiled while images were made", "", f"{figures.compiled_late}", "", "0"
    yield "warm-up, s", "", f"{figures.warm_up:.1f}", "", ""


def _percentile(load: Load, percent: int) -> float:
    return quantiles(load.latencies, n=100, method="inclusive")[percent - 1]


def table(lines: Sequence[Row]) -> str:
    """A Markdown table that is also one on a terminal."""
    heading: Row = ("", "stock", "ours", "", "target on an H100")
    everything = [heading, *lines]
    widths = [max(len(line[i]) for line in everything) for i in range(len(heading))]
    texts = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in everything
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


if __name__ == "__main__":
    main()
