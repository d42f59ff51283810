// Package connector carries Pushover messages to a message bus, and
// acknowledgements of emergencies back. This comment is the architecture
// document of the whole program.
//
// # The way of a message
//
// It can be read in four files, in this order: session.go (the push stream is
// followed), message.go (a message becomes an event), deliver.go (a batch is
// downloaded and published), clear.go (what was confirmed is deleted on the
// server).
//
//	Pushover                       connector                          bus
//	────────                       ─────────                          ───
//	push stream  ──"!"──────────▶  wake-up (capacity one)
//	message list ◀─────GET───────  sync: download, lowest ids first
//	             ──messages─────▶  encode as CloudEvents, 2 000 at a time
//	                               publish these, oldest first   ──▶  stream or topic
//	                                           confirmed prefix  ◀──
//	message list ◀─delete through  clear: last id of that prefix that has settled
//
//	receipt      ◀─acknowledge───  command: decode, call, decide ◀──  control subject
//	                               result, exactly one a command ──▶  results
//
// The push stream carries no messages, only hints that there are some. The
// message list is the truth, and the only buffer: the server keeps every
// message until it is told to delete it, or for 21 days. So nothing is kept
// here but the batch in hand, and a crash loses nothing.
//
// A [Connector] is put together in three steps. [New] prepares it, so that its
// status and page can be served while the bus is still being opened, which may
// take a minute and may be just what fails. SetSink gives it the open bus. Run
// carries messages until its context ends.
//
// # What is guaranteed
//
// A message is deleted on the server only after the sink has said that its
// event is durable. The service knows one deletion, "everything up to this id",
// so what is cleared is always the last id of a fully confirmed prefix of what
// was downloaded. Ids order time to the second only: a message may come after
// another and get a lower id. So what came in within the last few seconds is
// deleted only after one more download has shown that nothing new is below it
// ([pushover.Batch].Settled). Its event does not wait for that, and neither does
// the deletion of an older backlog.
//
// Every message ends up in the log exactly once and in the order of its ids,
// whatever is killed and whichever confirmation is lost. The connector repeats;
// the sink recognises the repeat by [Event.DedupKey]. How far back it can, and
// what it does about a second connector for the same device, is in the
// documentation of each sink.
//
// Every connection of the stream, first or later, is followed by a full
// download, since a message may have come while there was none. A wake-up
// during a download causes one more. A signal can be ahead of its message, so
// a download that follows one is followed by a second look. A slow safety sync
// covers lost signals, and a less slow one the time without a stream.
//
// Every command ends in exactly one published result: an ack as acknowledged,
// rejected with the reason, or expired; a lever (status, sync, resume) as done,
// rejected or expired. A command is settled on its bus only after its result is
// durable there. Nothing is acknowledged without a command. The levers are
// commands on every bus, and requests where the bus has them
// ([Connector.Endpoints]).
//
// How durable a confirmation is depends on the bus: a JetStream server flushes to
// disk every two minutes unless told otherwise, a Kafka topic with one replica
// loses what its broker loses. Since the other copy is deleted, the sink grades
// its bus at start ([Durability]), and Options.ClearDelay can postpone the
// deletion, and reads the event back from the log before it.
//
// # One alarm is one alarm
//
// While nobody acknowledges an emergency, the service may queue it again, with
// the same receipt and another id. That is another message and another event,
// which says so: repeat_of is the id of the first. An emergency that was over
// when it was recorded (acknowledged, or older than any can live: stale) has no
// severity that would wake somebody.
//
// Which emergencies are outstanding is known from the messages seen and the
// acknowledgements made. What was before this process is read at its start from
// the last hours of the log, by a sink that is a [Reader]. Until that has
// succeeded the number is unknown, in the metric too, and not zero.
//
// # States
//
// The session is in one of the states of [State]. It is live once the service
// has spoken on the push stream, or has accepted a download and left the stream
// open for two seconds: a login is never confirmed, only refused, and the first
// keep-alive may be half a minute away. A stream that says nothing for a minute is
// not taken for live any more.
//
// Trouble that may pass is waited out: the stream reconnects after jittered pauses
// ([pushover.Client.Follow] says which), and the API is left alone for five
// seconds at least after it failed. Three states do not pass by themselves, and in
// none of them does the process end, because an orchestrator's restart would be
// one more login, or one more takeover:
//
//   - login_needed: the service said E, or refused the secret or the device, or
//     there are no credentials. E does not say which, so one download asks why.
//   - taken_over: the service said A, another program logged in as this device.
//     Fighting back would evict it in turn, for ever. Acknowledging still works.
//   - fenced: another connector writes to the same log.
//
// All three are left when other credentials appear in the credentials file or
// mounted Secret, which is read every few seconds; the first two also by a
// resume request. Nothing but a restart helps a sink that is fenced: with other
// credentials the connector finds it fenced again.
//
// # Health
//
// There is one account of what works: a [Health]. It knows for each [Part] that
// must work for an alarm to become an event whether it does; and if not, why
// (one of a closed set of reasons, and a sentence), since when, how often it was
// tried, when it is tried next, and what a person can do. Log, metrics, /readyz,
// the status document, the page and the status command are all taken from it, so
// that they cannot disagree. part.go has the parts and reasons, health.go the
// account, status.go the document.
//
// Whoever does something reports how it went, by an [Activity]: the session here
// on login and stream, the delivery on downloading, publishing and clearing, the
// commander on commands that wait for their next attempt; the sink on its
// connection, on receiving commands, and on the embedded server's store. The
// Pushover client knows nothing about all this. It reports by callbacks when its
// REST side is closed and until when, and that counts as a failed download, since
// none can be made.
//
// There is no grace period. A part that failed is failing at once, in every
// place, until an attempt has succeeded: whether trouble will be short is not known
// in advance, and an account that waits before it says what it knows is wrong in
// the meantime. An alert or a probe that should be patient has a setting for it.
// Nor is a part ok on hope: until its first success it is starting, which is not
// ready.
//
// # What happens when
//
//   - The process is killed between publish and clear: the next start downloads
//     and publishes the batch again, the sink recognises it, the server is
//     cleared.
//   - It is killed between the acknowledge call and the settling of its command:
//     the bus delivers the command again, the call is repeated, which is
//     harmless, and the result event has the same id, so that it is in the log
//     once.
//   - The bus does not take a result: what was decided is kept, commands are failing
//     meanwhile, and it is published when the command comes again. Nothing is decided
//     twice. A request, which does not come again, is answered with the outcome at
//     once, and its result published as soon as that is possible.
//   - A deletion is refused, or confirmed and without effect: it is repeated ever
//     more rarely, and shown. New messages go on.
//   - The service fails, for however long: attempts become minutes apart. As soon
//     as an alarm is known to wait (a signal, or a command) they are twelve seconds
//     apart at most, as close as manners allow, so that the alarm gets through soon
//     after the service has recovered ([pushover.Urgent]).
//   - The device is taken over: the publish in flight is finished and cleared,
//     nothing further is downloaded, the state says why.
//   - The password is wrong: one login is made, its refusal is remembered beside
//     the credentials file, and the daemon waits in login_needed. A login that
//     never reached the service was not one, and is repeated.
//   - The bus is down: the batch in hand is tried again with growing pauses;
//     all else waits on the server. The log has a line at the start, at each
//     change of the reason, every few minutes, and at the recovery.
//   - The bus refuses one event for good, for instance for its size: a smaller
//     one goes to the dead letters, with the reason, and counts in its place.
//   - The context ends: no further download begins; the publish in flight is
//     finished, what it confirmed is cleared, all within the shutdown budget.
//
// # Design
//
// One interface, [Sink], because it alone has several implementations, and two
// that a sink may add, [Verifier] and [Reader]. Sinks import this package and
// never the other way round; the command wires both. The Pushover client is used
// as it is; its double in tests is a simulated service below it.
//
// Retrying is owned by one place for each activity: the stream by the client's
// Follow, publishing by delivery.deliverPiece, clearing by delivery.clear, commands
// by their bus, which delivers them again when a handler returns a
// [*RetryError]. A sink never retries a publish by itself.
//
// The manners towards the service (two connections, five seconds after a
// failure, nothing refused sent again) are kept inside the pushover package, so
// that no mistake here can break them.
//
// A single goroutine runs the delivery of a session and owns all its state;
// another one encodes the next messages while it publishes. Wake-ups reach it
// through a channel of capacity one. What others want to know it reports to the
// Health.
//
// A result's event id is the command's place on the bus and the time the bus
// took it in. It is not the sender's own id, because a sender may publish one
// command twice and is owed two results; that id is echoed as causationid.
package connector
