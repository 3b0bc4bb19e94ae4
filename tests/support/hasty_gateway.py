"""`python -m gateway` in a hurry: leases last 2 s, and what failed is soon tried again."""

from datetime import timedelta

from gateway.jobs import runtime, states
from gateway.jobs.heartbeat import Rhythm
from gateway.servicer import build
from gateway.settings import Settings
from rpckit.server import run

LEASE = 2.0
"""Seconds."""

if __name__ == "__main__":
    runtime.RHYTHM = Rhythm(renew=0.4, give_up=1.2, lease=LEASE)
    states.FIRST_BACKOFF = timedelta(seconds=0.5)
    run(Settings, build)
