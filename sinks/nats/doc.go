// Package nats puts events on NATS JetStream and takes commands from it. It
// speaks to an external server, or runs one of its own inside the process.
// [Open] is where to start: the [Bus] it returns is a [connector.Sink], a
// [connector.Verifier], a [connector.Reader], and the control side as well.
//
// # Exactly once, in order
//
// Every message carries its [connector.Event.DedupKey] as Nats-Msg-Id, so that
// a repeat adds nothing within the stream's duplicate window. That alone keeps
// no order: messages sent without waiting can be lost one by one, when a
// connection breaks, when a server restarts, when a stream's leader changes,
// while later ones get through. So each message is sent in one of two ways, and
// the server itself proves the order:
//
//   - alone, once everything before it is confirmed; or
//   - chained: with Nats-Expected-Last-Msg-Id naming its predecessor, and
//     Nats-Expected-Last-Sequence the place that it must have got just now, so that
//     the server stores it directly behind that predecessor or not at all.
//
// The id alone would do as long as nothing that follows is in the stream already. But a
// message can come late, below others that an earlier process has stored: their last
// one is the stream's last, and what follows it would pass the late one. Since the
// server looks at the sequence before it looks for repeats, repeats are confirmed by
// chaining what follows one of them to an id that no message has.
//
// It follows by induction that a message is stored only when all before it are,
// whatever is lost, delayed or repeated, and by however many writers, as long as
// they have the same messages to write in the same order: two connectors for one
// device do. A message that arrives late from a connection long given up is a
// repeat, or fits, or is refused. When something else is stored in between (a
// result, another device) the chain breaks, the rest is refused, and Publish
// goes on from there: a matter of speed, not of correctness.
//
// A stream in a cluster is written to one confirmed message at a time, however many
// replicas it has. There a broken chain is a write error of the replicated stream
// itself, after which nobody can publish to it any more, not even after a restart
// (nats-server 2.15.2); and a stream of one replica can be replicated at any moment
// under a connection that stays. A server of its own has no such moment. Messages a
// second, loopback, two cores, the slower and the faster of two days on rented machines
// (BenchmarkBatch, BenchmarkEmbedded, BenchmarkCluster):
//
//	a server of its own, chained         44 000   44 000
//	one replica in a cluster              4 200   13 500
//	three replicas                        2 300    4 200
//	embedded, each write synced           3 800    8 000
//
// # Whose word counts
//
// A confirmation counts if it comes from the stream that was looked at: by its name,
// the JetStream domain of its server, and a sequence above all that were known, unless
// it is for a repeat. With leaf nodes two streams can take one subject, and then both
// confirm.
//
// Settings can be changed under a connection that stays. The stream is looked at for
// each new connection, every half minute, after each failure, and before an event is
// published that was confirmed before.
//
// A repeat is confirmed even if its message was removed meanwhile, as by a purge: the
// server remembers ids and not messages. An event that is marked [connector.Event.Lost]
// is looked for in the log and, if it is not there, stored again under another id.
//
// # How far back a repeat is recognised
//
// A stream created here has a duplicate window of [Retention], as long as
// Pushover keeps a message: no message can come back later than that. A stream
// created by others may have a shorter one. Then each Publish first reads
// the stream's tail, back to a message that is older than the first event by more
// than a message can come late, and takes what it finds there as stored; the window
// covers what happens from then on, since a Publish that has lasted half a window
// looks again. The tail of result events, which have no order to stop at, is read back
// [maxScan] messages, and so is a tail of foreign messages. Both streams' reads
// look only at message ids: nothing is assumed to be stored that was not seen.
//
// # Connection
//
// The connection is kept up for ever and every credential and certificate is
// read again for each attempt; a change of their files reconnects at once. The
// state of the connection and the streams, of receiving commands, and of the
// embedded server's store goes to [connector.Health].
package nats
