"""The three services in a process of their own, which prints their addresses as JSON."""

import asyncio
import json

from rpckit.server import until_terminated
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
        await until_terminated()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
