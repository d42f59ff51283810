"""Acknowledges an emergency over Kafka and prints the result.

    pip install kafka-python
    KAFKA_BROKERS=127.0.0.1:9092 python ack_kafka.py RECEIPT
"""

import json
import os
import sys
import time
import uuid

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

brokers, receipt = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092").split(","), sys.argv[1]

# Listen before speaking: from the present end of the results on.
results = KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)
partitions = results.partitions_for_topic("pushover.results")
results.assign([TopicPartition("pushover.results", p) for p in partitions])
results.seek_to_end()
for partition in results.assignment():
    results.position(partition)

# The id is ours and comes back in the result. The key keeps the commands for
# one emergency in order.
command_id = str(uuid.uuid4())
command = {"command": "ack", "receipt": receipt, "id": command_id}
producer = KafkaProducer(bootstrap_servers=brokers, acks="all")
producer.send("pushover.control", key=receipt.encode(), value=json.dumps(command).encode()).get(30)
producer.close()

deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    for records in results.poll(timeout_ms=1000).values():
        for record in records:
            event = json.loads(record.value)
            if event.get("causationid") == command_id:
                print(event["data"]["status"], event["data"].get("reason", ""))
                results.close()
                sys.exit(event["data"]["status"] != "acknowledged")
sys.exit("the command is on the bus, but there is no result yet")
