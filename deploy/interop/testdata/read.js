// Reads records as lines of JSON, prints the events in them as lines of JSON.
// Argument: the bus.
import { createInterface } from "node:readline";
import { HTTP, Kafka } from "cloudevents";

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body } = JSON.parse(line);
  const event =
    process.argv[2] === "kafka"
      ? Kafka.toEvent({ headers, key: undefined, value: body })
      : HTTP.toEvent({ headers, body });
  console.log(JSON.stringify(event));
}
