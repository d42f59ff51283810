"""Keeps every alarm in a SQLite file, once.

    pip install nats-py        # or kafka-python
    NATS_URL=nats://127.0.0.1:4222 python archive.py nats --db alarms.db
    KAFKA_BROKERS=127.0.0.1:9092 python archive.py kafka --db alarms.db --from end

It may be killed at any time: an alarm and the position after it are written in
one transaction, so that the next start continues where the table ends. To use
one bus alone, leave the other's function out.

It ends when the bus is in trouble that the client does not get over: let systemd
or Kubernetes start it again.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import sys

SCHEMA = """
CREATE TABLE IF NOT EXISTS alarm (
    source TEXT, id TEXT, recorded TEXT, expires TEXT, repeat_of TEXT, stale INTEGER, data TEXT,
    PRIMARY KEY (source, id));
CREATE TABLE IF NOT EXISTS position (log TEXT PRIMARY KEY, next INTEGER)
"""


def decode(attributes, body):
    """Reads both content modes: in structured mode the body has everything, in
    binary mode the attributes are headers and the body is the data."""
    event = {**attributes, "data": json.loads(body)} if attributes.get("id") else json.loads(body)
    event["id"], event["source"], event["data"]["id"]  # raise if it is not an event
    return event


def start(log, beginning, end):
    """Tells where in a log to go on, and remembers the first answer: what comes
    after it is not left out, however often this program is killed."""
    with db:
        db.execute("INSERT OR IGNORE INTO position VALUES (?, ?)", (log, end if options.start == "end" else beginning))
    return db.execute("SELECT next FROM position WHERE log = ?", (log,)).fetchone()[0]


def store(log, following, attributes, body):
    """Writes an alarm, and where the record after it is: both or neither."""
    event = None
    try:
        event = decode(attributes, body)
    except (ValueError, LookupError, TypeError) as error:
        # Somebody else's record must not hold up all that come after it.
        print(f"left out what is before {following} in {log}, which is not an event: {error!r}", file=sys.stderr)
    with db:  # commits at its end
        if event:
            data = event["data"]
            # An event is known by source and id together, also if the log has it twice.
            db.execute(
                "INSERT OR IGNORE INTO alarm VALUES (?, ?, ?, ?, ?, ?, ?)",
                (event["source"], event["id"], event.get("recordedtime", ""), event.get("expirytime", ""),
                 data.get("repeat_of"), data.get("stale", False), json.dumps(data)),
            )  # fmt: skip
        db.execute("UPDATE position SET next = ? WHERE log = ?", (following, log))


async def read_nats():
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

    nc = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    js = nc.jetstream()
    stream = await js.stream_info("PUSHOVER")
    # A stream that is deleted and made again counts from 1 again: it is another log.
    log = f"PUSHOVER of {stream.created:%Y-%m-%d %H:%M:%S}"
    first = max(1, stream.state.first_seq)
    following = start(log, first, stream.state.last_seq + 1)
    if following < first:
        print(f"what was before {first} is gone from the stream, and read up to {following}", file=sys.stderr)
    # The server keeps no position: the table has it.
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=following, ack_policy=AckPolicy.NONE,
        inactive_threshold=300,
    )  # fmt: skip
    events = await js.pull_subscribe("pushover.messages.>", stream="PUSHOVER", config=config)
    while True:
        try:
            batch = await events.fetch(100, timeout=60)
        except nats.errors.TimeoutError:
            await events.consumer_info()  # raises if a restarted server has forgotten it
            continue
        for message in batch:
            attributes = {name[3:]: value for name, value in (message.headers or {}).items() if name.startswith("ce-")}
            store(log, message.metadata.sequence.stream + 1, attributes, message.data)


def read_kafka():
    from kafka import KafkaConsumer, TopicPartition

    topic = os.environ.get("KAFKA_TOPIC", "pushover.messages")
    # A position that Kafka does not have any more is an error: to go on elsewhere
    # by itself would leave alarms out without a word.
    consumer = KafkaConsumer(
        bootstrap_servers=os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092").split(","), auto_offset_reset="none",
        enable_auto_commit=False, isolation_level="read_committed",
    )  # fmt: skip
    # No group: the table has the positions. A partition that is added is read from
    # the next start on.
    partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or sys.exit(f"there is no topic {topic}")]
    consumer.assign(partitions)
    beginnings, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    for p in partitions:
        consumer.seek(p, start(f"{topic}/{p.partition}", beginnings[p], ends[p]))
    while True:
        for records in consumer.poll(timeout_ms=60_000).values():
            for r in records:
                attributes = {name[3:]: value.decode() for name, value in r.headers if name.startswith("ce_")}
                store(f"{topic}/{r.partition}", r.offset + 1, attributes, r.value)


parser = argparse.ArgumentParser(description="keep every alarm in SQLite, once")
parser.add_argument("bus", choices=["nats", "kafka"])
parser.add_argument("--db", default="alarms.db", help="SQLite file")
parser.add_argument("--from", dest="start", choices=["beginning", "end"], default="beginning", help="of the log, for a first start")
options = parser.parse_args()
db = sqlite3.connect(options.db)
db.executescript(SCHEMA)
with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(read_nats()) if options.bus == "nats" else read_kafka()
