"""The three services in a process of their own, which prints their addresses as JSON.

Ends when its standard input does, so that it never outlives who started it.
"""

import asyncio
import json
import sys

from rpckit.telemetry import configure_logging
from standalone.stack import Standalone


async def main() -> None:
    async with Standalone() as stack:
        addresses = {
            "gateway": stack.address,
            "frame_gen": stack.frame_gen_address,
            "compositor": stack.compositor_address,
        }
        print(json.dumps(addresses), flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
