"""`python -m gateway` in a hurry: leases last 7 s, what failed is soon tried again, and swept.

What is swept is what a gateway of a deployment sweeps, only more often: while renders are
made and their videos are read.
"""

from datetime import timedelta

from gateway.jobs import runtime, states, sweeper, worker
from gateway.jobs.heartbeat import Rhythm
from gateway.servicer import build
from gateway.settings import Settings
from rpckit.server import run

LEASE = 7.0
"""Seconds."""

if __name__ == "__main__":
    runtime.RHYTHM = Rhythm(renew=1.0, give_up=4.5, lease=LEASE)
    states.FIRST_BACKOFF = timedelta(seconds=0.5)
    states.LONGEST_BACKOFF = timedelta(seconds=2)
    # What was killed may take minutes to start on a slow machine.
    states.MAX_FAILURES = 300
    sweeper.ROWS_EVERY = sweeper.OUTPUTS_EVERY = sweeper.FRAMES_EVERY = sweeper.FIRST_WITHIN = 1.0
    # A client is away for as long as its gateway starts: minutes on a slow machine.
    worker.LAPSE_POLL = 3600.0
    run(Settings, build)
