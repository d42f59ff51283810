"""Acknowledges a class of emergencies by itself: those of one application whose
title matches. All others are left to people.

    pip install nats-py
    NATS_URL=nats://127.0.0.1:4222 python autoack_nats.py Backup '^retry [0-9]+ failed'

It may be down as long as it likes: the durable consumer remembers where it was.
Copies with one rule share a consumer, and so the work; those with different
rules have one each, and every rule sees every emergency. --name sets another.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
from datetime import datetime, timedelta, timezone

import nats
from nats.js.api import ConsumerConfig

LIFE = timedelta(hours=3)  # an emergency asks for attention no longer
IDLE = 30 * 24 * 3600  # seconds until the server forgets the consumer of a rule that nobody runs


def matches(event, app, title):
    # When the connector had it; the other times are chosen by the sender.
    recorded = datetime.strptime(event["recordedtime"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    emergency = event["data"]
    return (
        datetime.now(timezone.utc) - recorded < LIFE
        and "receipt" in emergency
        and not emergency["acked"]  # somebody was there first
        and not emergency.get("stale")  # it was over when it was recorded
        and "repeat_of" not in emergency  # its first event was looked at
        and emergency["app"] == app
        and re.search(title, emergency.get("title", ""))
    )


async def watch(url, name, app, title):
    nc = await nats.connect(url, max_reconnect_attempts=-1)
    js = nc.jetstream()
    events = await js.pull_subscribe(
        "pushover.messages.emergency.>", durable=name, stream="PUSHOVER", config=ConsumerConfig(inactive_threshold=IDLE)
    )
    while True:
        try:
            batch = await events.fetch(10, timeout=60)
        except nats.errors.TimeoutError:
            continue  # nothing has happened
        for message in batch:
            event = json.loads(message.data)
            if matches(event, app, title):
                command = {"receipt": event["data"]["receipt"], "id": "autoack-" + event["id"]}
                # One command for each receipt, also if the event is delivered twice.
                once = {"Nats-Msg-Id": "autoack-" + command["receipt"]}
                await js.publish("pushover.control.ack", json.dumps(command).encode(), headers=once)
                print("acknowledging", event["id"], event["data"].get("title"), flush=True)
            # Only now: an event whose command may not be on the bus must come again.
            await message.ack()


options = argparse.ArgumentParser(description="acknowledge the emergencies of one application whose title matches")
options.add_argument("app")
options.add_argument("title", help="regular expression")
options.add_argument("--name", help="of the durable consumer; default: one for each rule")
rule = options.parse_args()
# Two rules on one consumer would take each other's events.
name = rule.name or "autoack-" + hashlib.sha256(f"{rule.app}\0{rule.title}".encode()).hexdigest()[:12]
with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(watch(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), name, rule.app, rule.title))
