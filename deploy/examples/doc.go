// Package examples holds short programs that use the bus side of
// pushover-connector, for copying. They need nothing of this module, and its
// tests run each of them against the connector and a simulated service. They
// read events in structured mode, the default, the archives in binary mode too,
// and use the default names of streams, subjects and topics.
//
//	ack.sh          acknowledge from a shell, with the nats command line
//	ack-go          acknowledge from Go over NATS
//	ack_nats.py     acknowledge from Python over NATS
//	ack_kafka.py    acknowledge from Python over Kafka
//	autoack-go      acknowledge a class of alerts by a consumer, in Go
//	autoack_nats.py the same in Python
//	autoresolve     acknowledge the emergencies of resolved alerts, in Go
//	archive-go      keep every alarm once in SQLite, in Go, from NATS or Kafka
//	archive.py      the same in Python
//	grafana         a contact point that makes Grafana's alerts emergencies
//
// The consumers look at acked, stale and repeat_of before they act: an
// emergency that is over, or that comes again, must not cause anything.
package examples
