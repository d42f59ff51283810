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
// # Which of it a receiver's test needs
//
// [Server.Start] or [Server.StartPipe], [Server.AddDevice], [Server.Send],
// [Server.Wait], [Server.Fault] and [Server.Violations]. The rest changes the
// world ([Server.AddAccount], [Server.AddGroup], [Server.AddSound],
// [Server.SetLicensed], [Server.SetQuiet], [Server.DisableDevice],
// [Server.RevokeSecret] …), puts frames on streams ([Server.Signal] …), looks at
// what became of it ([Server.State], [Server.Queue], [Server.Receipt],
// [Server.Requests]), or chooses where clients should cope with either.
//
// # The wire
//
// What it does is what https://pushover.net/api/client and /api say, and what
// clients and senders that work with the real service show:
//
//   - One queue per device. A download removes nothing, a deletion everything up to
//     an id, retention what is 21 days old. Every id comes as a number and as a
//     string (id_str), since it does not fit a float64.
//   - The upper half of an id is the second of arrival, counted from 2018-01-01 UTC;
//     the lower half belongs to whoever made it. So ids order time to the second only:
//     [Server.LooseIDs] shows it. (Before 2018, as in a fresh bubble, twenty years
//     are added: sleep to a later date first to have ids and dates agree.)
//   - The stream is a login frame "login:DEVICE:SECRET\n", text or binary; no positive
//     answer; signals of one byte: '#' every 30 s, '!' for a message, 'R' to
//     reconnect, 'E' for good, 'A' taken over. One live stream per device.
//   - A refusal is 4xx with status 0 and errors, a list or an object by parameter;
//     an unknown path an HTML page. Two-factor login is asked for by 412.
//   - An emergency has a receipt and is repeated every retry seconds (30 at least),
//     50 times at most, until expire (10 800 s at most), until it is acknowledged by
//     any device, member of the group included, or cancelled.
//   - Parameters may stand in the query and in bodies of any kind and label; a
//     multipart body may lack the line end before its last boundary, a path may have
//     a slash twice, the device id may be called device or deviceId.
//   - A message may have 1024 characters, a title 250, a url 512, a url_title 100;
//     ciphertext, which is longer, is not measured. One that is encrypted and has no
//     title gets the application's name, in the clear. The quota is the account's.
//
// Groups, glances, licences and subscriptions have no API here: they are no
// matter of a receiver.
//
// What is not known about the real service is chosen as its documentation and
// captures suggest and can be changed where clients should cope with either:
// [Server.SetOrder], [Server.SetErrorShape], [Server.SetRetryMode],
// [Server.OmitStrings], [Options].StrictDeviceID. These choices are made
// without evidence: an acknowledgement after expiry is accepted and noted; a
// session rejected at download or deletion is a 400, a disabled device a 403;
// a wrong second factor is a 412 again; an expired ttl does not remove a
// message from a queue; no '!' is sent at login for what waits already; a page
// holds the lowest ids of the queue; a stream hears of the end of the trial
// when its next '#' is due; tags may have 255 characters.
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
