"""`gator` that waits for a server, and lets a server wait for its clients, as long as it takes.

So what ends a test is never that a machine takes more than 30 s to start a server.
"""

from gateway.jobs import worker
from gator_client import attached
from gator_client.cli import main

if __name__ == "__main__":
    attached.PATIENCE = 3600.0
    worker.LAPSE_POLL = 3600.0
    main()
