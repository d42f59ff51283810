// Package connector carries Pushover messages to a message bus, and
// acknowledgements of emergencies back. This comment is the architecture
// document of the whole program.
//
// # The way of a message
//
// It can be read in three files, in this order: session.go (the push stream is
// followed), deliver.go (a batch is downloaded and published), clear.go (what
// was confirmed is deleted on the server).
//
//	Pushover                       connector                          bus
//	────────                       ─────────                          ───
//	push stream  ──"!"──────────▶  wake-up (capacity one)
//	message list ◀─────GET───────  sync: download, lowest ids first
//	             ──messages─────▶  encode as CloudEvents, 2 000 at a time
//	                               publish these, oldest first   ──▶  stream or topic
//	                                           confirmed prefix  ◀──
//	message list ◀─delete through  clear: last id of that prefix
//
//	receipt      ◀─acknowledge───  command: decode, call, decide ◀──  control subject
//	                               result, exactly one a command ──▶  results
//
// The push stream carries no messages, only hints that there are some. The
// message list is the truth, and the only buffer: the server keeps every
// message until it is told to delete it, or for 21 days. So nothing is kept
// here but the batch in hand, and a crash loses nothing.
//
// # What is guaranteed
//
// A message is deleted on the server only after the sink has said that its
// event is durable. The service knows one deletion, "everything up to this id",
// so what is cleared is always the last id of a fully confirmed prefix of what
// was downloaded. Ids are taken to ascend, as they do as far as anybody has
// seen: a message that came between the download and the deletion, with an id
// below those, would be deleted with them.
//
// Every message ends up in the log exactly once and in the order of its ids,
// whatever is killed and whichever confirmation is lost. The connector repeats;
// the sink recognises the repeat by [Event.DedupKey]. How far back it can, and
// what it does about a second connector for the same device, stands in the
// documentation of each sink.
//
// Every connection of the stream, first or later, is followed by a full
// download, since a message may have come while there was none. A wake-up
// during a download causes one more. A slow safety sync covers lost signals.
//
// Every acknowledge command ends in exactly one published result: acknowledged,
// rejected with the reason, or expired. A command is settled on its bus only
// after its result is durable there. Nothing is acknowledged without a command.
//
// How much a confirmation is worth is up to the bus: a JetStream server flushes
// to disk every two minutes unless told otherwise, a Kafka topic with one
// replica loses what its broker loses. Since the other copy is deleted, the
// sink grades its bus at start ([Durability]), and Options.ClearDelay can hold
// the deletion back and read the event from the log once more before it.
//
// # States
//
// The session is in one of the states of [State]. Trouble that may pass is
// waited out: the stream reconnects with growing, jittered pauses that start
// over only after a connection has held for a minute, and the API is left alone
// for five seconds at least after it failed. Three states do not pass by
// themselves, and in none of them does the process end, because an
// orchestrator's restart would be one more login, or one more takeover:
//
//   - login_needed: the service said E, or refused the secret or the device, or
//     there are no credentials.
//   - taken_over: the service said A, another program logged in as this device.
//     Fighting back would evict it in turn, for ever. Acknowledging still works.
//   - fenced: another connector writes to the same log.
//
// The first two are left when other credentials appear in the credentials file
// or mounted Secret, which is read every few seconds, or by a resume request.
//
// # What happens when
//
//   - The process is killed between publish and clear: the next start downloads
//     and publishes the batch again, the sink recognises it, the server is
//     cleared.
//   - It is killed between the acknowledge call and the settling of its command:
//     the bus delivers the command again, the call is repeated, which is
//     harmless, and the result event has the same id, so that it stands in the
//     log once.
//   - The device is taken over: the publish in flight is finished and cleared,
//     nothing further is downloaded, the state says why.
//   - The password is wrong: one login is made, its refusal is remembered beside
//     the credentials file, and the daemon waits in login_needed.
//   - The bus is down: the batch in hand is tried again with growing pauses;
//     all else waits on the server. The log has a line at the start, at each
//     change of the failure, and at the recovery.
//   - The bus refuses one event for good, for instance for its size: a smaller
//     one goes to the dead letters, with the reason, and counts in its place.
//   - The context ends: no further download begins; the publish in flight is
//     finished, what it confirmed is cleared, all within the shutdown budget.
//
// # Design
//
// One interface, [Sink], because it alone has several implementations. Sinks
// import this package and never the other way round; the command wires both.
// The Pushover client is used as it is; its double in tests is a simulated
// service below it.
//
// Retrying is owned by one place for each activity: the stream by the client's
// Follow, publishing by delivery.deliver, clearing by delivery.clear, commands
// by their bus, which delivers them again when a handler returns a
// [*RetryError]. A sink never retries by itself.
//
// The manners towards the service (two connections, five seconds after a
// failure, nothing refused sent again) are kept inside the pushover package, so
// that no mistake here can break them.
//
// A single goroutine runs the delivery of a session and owns all its state;
// another one encodes the next messages while it publishes.
// Wake-ups reach it through a channel of capacity one. What others want to know
// it writes on a board behind a mutex.
//
// A result's event id is the command's place on the bus and the time the bus
// took it in. It is not the sender's own id, because a sender may publish one
// command twice and is owed two results; that id is echoed as causationid.
package connector
