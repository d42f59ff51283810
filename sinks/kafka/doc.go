// Package kafka publishes events to Apache Kafka exactly once, reads them back,
// and takes commands from a Kafka topic. [Open] gives a [Bus], which is a
// [connector.Sink], a [connector.Verifier], a [connector.Reader] and a server of
// commands.
//
// # What is guaranteed
//
// Whatever is killed at any moment, whichever answer is lost, and however many
// connectors run for one device by mistake, the topic holds every event of the
// device once and in the order in which it was first published, for consumers
// with either isolation level. The order is that of one partition, to which the
// event's key leads as it does in the Java client.
//
// # How
//
// An idempotent producer: batches carry a producer id, its epoch and sequence
// numbers, and all replicas in sync confirm them. When an answer is lost or says
// nothing certain (timeout, disconnect, "not enough replicas after append"), the
// same bytes are sent again, and the broker recognises them.
//
// A fence: the producer id belongs to a transactional id named after the device and
// the topic, so that every start gets a new epoch. Each topic has a producer of its
// own, and so has each device, should new credentials make the connector another one. An empty transaction, rolled back at
// once, writes a marker with that epoch into each partition; from there on the
// partition refuses older epochs, also what they have still on the wire. The
// marker takes an offset and is never seen by a consumer.
//
// A look at the log: after the fence the tail of the partition is read back, and
// what an earlier run wrote, however it died, is known before anything is
// written. The same happens when the broker has lost track of the sequence.
// Ids of one device only grow, and so the newest thousand events usually say
// enough; when they do not, the log is read further back. The same look follows
// when a topic was deleted and recreated.
//
// # Why not transactions
//
// A transaction around each batch, with the last id committed as a group's
// offset inside it, fences and resumes as well, but keeps the promise to
// read-committed consumers only: a connector that dies between writing and
// committing leaves the aborted records visible to consumers with the default
// isolation, and writes them once more. A test shows it. It is also dearer.
// Apache Kafka 4.4.0, one node, loopback, two cores, the mean of one confirmed
// call (BenchmarkConfirm; plain is kafka-go's Produce, which may repeat):
//
//	                 1 event   500 events
//	idempotent       0.50 ms       7.1 ms
//	transaction     10.1  ms      15.6 ms
//	plain            0.38 ms       8.4 ms
//
// A transaction takes four more round trips, and the next must wait until the
// coordinator has written the markers of the last.
//
// # kafka-go
//
// Requests are made by kafka-go's Client with a transport of our own; its Writer
// is neither idempotent nor cancellable, its Reader cannot be shut down at once,
// and its Transport answers from a cache that cannot be refreshed.
//
// Records are decoded here: kafka-go decompresses a batch whole, whatever its size,
// and takes no notice of the time that a broker gives a record.
//
// # Time
//
// A command's age counts from when the broker took it in, if the control topic says
// LogAppendTime, as one created here does. Else it counts from when the command came
// while the topic was being waited at, and only for commands that were there before by
// the sender's clock.
//
// # Limits
//
// Clusters without transactions are used without a fence, and the log says so:
// there a second connector for the same device can cause duplicates. Adding
// partitions to the message topic moves the device to another partition, where
// earlier events are not looked for; a warning says so. Nor are they looked for
// beyond some five million records, or a quarter of a million events of the device,
// from the end of the partition. Of connectors that share a control topic and a group one carries its commands out,
// and another goes on at most fifteen seconds after that one has died.
package kafka
