"""Acknowledges a class of emergencies by itself: those of one application whose
title matches. All others are left to people.

    pip install nats-py
    NATS_URL=nats://127.0.0.1:4222 python autoack_nats.py Backup '^retry [0-9]+ failed'

It may be down as long as it likes: the durable consumer remembers where it was.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
from datetime import datetime, timedelta, timezone

import nats

LIFE = timedelta(hours=3)  # an emergency asks for attention no longer


def matches(event, app, title):
    # When the connector had it; the other times are chosen by the sender.
    recorded = datetime.strptime(event["recordedtime"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    emergency = event["data"]
    return (
        datetime.now(timezone.utc) - recorded < LIFE
        and "receipt" in emergency
        and not emergency["acked"]
        and emergency["app"] == app
        and re.search(title, emergency.get("title", ""))
    )


async def watch(url, app, title):
    nc = await nats.connect(url, max_reconnect_attempts=-1)
    js = nc.jetstream()
    events = await js.pull_subscribe("pushover.messages.emergency.>", durable="autoack", stream="PUSHOVER")
    while True:
        try:
            batch = await events.fetch(10, timeout=60)
        except nats.errors.TimeoutError:
            continue  # nothing has happened
        for message in batch:
            event = json.loads(message.data)
            if matches(event, app, title):
                command = {"receipt": event["data"]["receipt"], "id": "autoack-" + event["id"]}
                await js.publish("pushover.control.ack", json.dumps(command).encode())
                print("acknowledging", event["id"], event["data"].get("title"), flush=True)
            # Only now: an event whose command may not be on the bus must come again.
            await message.ack()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(watch(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), sys.argv[1], sys.argv[2]))
