"""Acknowledges an emergency over NATS and prints the result.

    pip install nats-py
    NATS_URL=nats://127.0.0.1:4222 python ack_nats.py RECEIPT
"""

import asyncio
import json
import os
import sys
import uuid

import nats


async def acknowledge(url, receipt):
    nc = await nats.connect(url)
    try:
        # Listen before speaking. The id is ours and comes back in the result.
        results = await nc.subscribe("pushover.results.>")
        command_id = str(uuid.uuid4())
        command = json.dumps({"receipt": receipt, "id": command_id}).encode()
        # Durable: once this has returned, the command will be carried out.
        await nc.jetstream().publish("pushover.control.ack", command)
        async for message in results.messages:
            event = json.loads(message.data)
            if event.get("causationid") == command_id:
                return event["data"]
    finally:
        await nc.close()


result = asyncio.run(asyncio.wait_for(acknowledge(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), sys.argv[1]), 30))
print(result["status"], result.get("reason", ""))
sys.exit(result["status"] != "acknowledged")
