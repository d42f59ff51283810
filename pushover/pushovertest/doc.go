// Package pushovertest is a Pushover service in a box: it lets a program that
// receives Pushover messages (an "Open Client") or sends them be tested
// without an account and without a network. It is unofficial and made from a
// description of the wire, not from any client: a client and this package
// agree only if both are right.
//
// # Start here
//
//	s := pushovertest.New(pushovertest.Options{})
//	if err := s.Start(); err != nil { … }   // free ports of 127.0.0.1
//	defer s.Close()
//	d := s.AddDevice("nas-1")               // registered: d.Secret, d.ID
//	// point the client at s.APIURL() and s.StreamURL(), then:
//	s.Send(pushovertest.Outgoing{Title: "Backup", Message: "done"})
//	err := s.Wait(ctx, func(st pushovertest.State) bool {
//		return len(st.Device("nas-1").Queue) == 0 // received and deleted
//	})
//	for _, v := range s.Violations() { … }  // what the client did that it should not
//
// A client that insists on TLS and on the real host names gets a dialer that
// connects to [Server.TLSAddr] and the roots of [Server.CertPool]. The
// command pushover-sim is the same service for programs in other languages.
//
// # Virtual time
//
// In a testing/synctest bubble call New inside the bubble, serve with
// [Server.StartPipe] and give the client [Server.DialContext]. Keep-alives,
// emergencies, retention, trial and the rules of good manners then follow the
// bubble's clock: three weeks pass in no time.
//
// # What it simulates
//
//   - Accounts with password and TOTP second factor (a code works once);
//     sessions, a new secret for each login; devices with name rules; licence
//     and trial.
//   - One queue per device. Ids lie beyond 2^53 and are never such that a
//     float64 could hold them. A download removes nothing, a delete removes
//     everything up to an id, retention removes what is old.
//   - The websocket: login frame as text or binary, no positive answer, '#',
//     '!', 'R', 'E' and 'A', one live stream per device.
//   - Emergencies: receipts, repetition, expiry, acknowledgement, groups,
//     cancelling, callbacks (to loopback only).
//   - The sending side with its validation, limits and receipts.
//   - Parameters in the query, in bodies of every kind and label that clients
//     in production have been seen to send.
//
// What is not known about the real service is chosen as its documentation and
// captures suggest and can be changed where clients should cope with either:
// [Server.SetOrder], [Server.SetErrorShape], [Server.SetRetryMode],
// [Server.OmitStrings], [Options].DeviceAliases. These choices are made
// without evidence: an acknowledgement after expiry is accepted and noted; a
// session rejected at download or deletion is a 400, a disabled device a 403;
// a wrong second factor is a 412 again; an expired ttl does not remove a
// message from a queue; no '!' is sent at login for what waits already; a page
// holds the lowest ids of the queue; a stream hears of the end of the trial
// when its next '#' is due.
//
// # Trouble
//
// [Server.Fault] scripts answers, delays and broken connections for any
// operation; [Server.Signal] and its kin put any frames on a stream;
// [Server.CloseStreams] and [Server.StopKeepAlive] take it away. A [Fault]
// either replaces an answer or breaks it, before or after the request was
// carried out, so that a test can lose a confirmation as well as a request.
//
// # Manners
//
// The service blocks clients that misbehave. [Server.Violations] says what it
// would have minded, each by a named [Rule]. A well-behaved client is never
// accused, so a test can demand an empty list at its end.
//
// # Control over HTTP
//
// Messages, frames, faults, accounts, groups, devices and settings are made and
// changed by POST /sim/ and their name, and looked at by GET /sim/state and
// /sim/violations. The help of pushover-sim lists the fields. There is no
// protection: who reaches the service controls it.
//
// Some things are for Go only. There is no call like [Server.Wait]: a program
// asks for the state again and again. Nor like [Server.AddDevice]: it logs in
// and registers, and finds the welcome message. Messages have no
// [Outgoing].Callback, which the sending side takes, and are refused where Go
// would send nonsense: with an unknown priority, or to a device that is not
// there. Of the [Options] only page size and licence can be changed later, and
// pushover-sim has no flag for MaxDevices. And there is no virtual time.
package pushovertest
