"""Reads records as lines of JSON, prints the events in them as lines of JSON.
Argument: the bus."""

import json
import sys

from cloudevents.core.bindings import http, kafka

for line in sys.stdin:
    record = json.loads(line)
    headers, body = record["headers"], record["body"].encode()
    if sys.argv[1] == "kafka":
        headers = {name: value.encode() for name, value in headers.items()}
        event = kafka.from_kafka_event(kafka.KafkaMessage(headers=headers, key=None, value=body))
    else:  # the binding of NATS is like that of HTTP
        event = http.from_http_event(http.HTTPMessage(headers=headers, body=body))
    print(json.dumps({**event.get_attributes(), "data": event.get_data()}, default=lambda t: t.isoformat()))
