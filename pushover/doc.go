// Package pushover receives Pushover messages: it is a client for the Open Client
// API, by which a program becomes one more device of a Pushover account. It logs
// in, registers the device, downloads its messages, follows the push stream,
// deletes what was handled, acknowledges emergencies, and decrypts end-to-end
// encrypted messages. (Sending messages is a different API.)
//
// This is an unofficial library, neither made nor supported by Pushover, LLC. A
// device made with it counts as a desktop device of the account: it needs the
// one-time desktop licence after the trial. See https://pushover.net/api/client.
//
// # Where to start
//
// Three identifiers do nearly everything:
//
//   - [New] makes a [Client] for the [Credentials] of a device;
//   - [Client.Listen] runs until its context ends and calls a function for each
//     message; [Client.StartListening] does so beside other work;
//   - [Message] is what that function gets.
//
// A program that has no credentials yet gets them once, with [Client.Enroll], and
// keeps them with [Credentials.Save]. A program with an order of its own, such as
// "publish, confirm, then delete", uses [Client.Follow] to know when,
// [Client.Messages] to download, and [Client.DeleteThrough], no further than
// [Batch.Settled].
//
// # What is guaranteed
//
//   - Only DeleteThrough deletes, and Listen after its function accepted a
//     message. A crash in between brings a message again and never loses one:
//     handle a message durably, then delete it.
//   - Ids are exact 64-bit integers. A batch holds the lowest ids of what the
//     service sent, sorted, so that deleting through any of them never deletes
//     anything of that download unseen. It says through which one a message that
//     is still to come cannot be below: [Batch.Settled].
//   - Memory is bounded, however long the backlog and whatever the other side
//     sends: see [Options] for the limits. What exceeds them gives [ErrTooLarge].
//   - Unknown members of a message are kept in [Message.Raw], unknown signals of
//     the stream are handed on and otherwise ignored.
//   - The service's manners are kept inside the [Client], whatever the caller
//     does: two connections at most, no rejected request twice in an hour, 5 seconds
//     and more after a failure, Retry-After, a User-Agent everywhere.
//   - No error or log line shows the session secret, the device id, a password,
//     a code, a key, a receipt or a URL with a query. [Secret], [DeviceID] and
//     [E2EEKey] print as REDACTED wherever fmt, log/slog and encoding/json ask
//     their methods: see [Secret] for where they do not. A [Message] prints as
//     it is, receipt and all.
//
// What is not guaranteed: exactly-once handling is the caller's, by message id; a
// message that waits for more than 21 days is dropped by the service.
//
// # What is not known
//
// The API is documented in outline. Where it is silent, this package copes with
// whatever may be the case:
//
//	not known                                  what is done
//	-----------------------------------------  ----------------------------------------------------
//	how a message is placed within the second  it is deleted four seconds after it was seen, after
//	of its id, which counts from 2018          one more download: Batch.Settled
//	whether one download brings all; in which  the lowest ids are handled first, and downloads are
//	order                                      repeated until one is empty. One that left out a
//	                                           lower id than it brings would lose it
//	whether an emergency that is sent again    both are understood: the receipt is the same
//	has a new id
//	the answers to a wrong password, code,     only 400, 401, 403 or 404 with JSON and status 0 is
//	secret or device                           a verdict; anything else is trouble that may pass
//	how long a secret lives; whether a login   ErrSessionRejected may come at any time, and nothing
//	ends others                                logs in by itself
//	what confirms the login of a stream        the first signal; a refusal is E
//	whether E is always final                  it is taken so: ErrLoginNeeded
//	whether the flag "encrypted" is delivered  a key that opens a field says so too
//	codes of custom sounds and of "vibrate"    Batch.Sounds, if the service sends a list
//	attachments, new fields, new signals       fields are in Message.Raw, signals are handed on
//	Retry-After of a failure                   kept, up to an hour; of a 429, up to a day
//
// # Errors
//
// Errors answer two questions. What can the user do? Match sentinels such as
// [ErrTwoFactorNeeded] or [ErrSessionRejected] with [errors.Is]. Is it worth
// waiting? Ask [Retryable] and [RetryAfter]. The service's own words are in
// [*APIError]. A program that wants to show where things stand, and not only what
// failed, sets [Options.OnAPIState] and Follower.State.
//
// # For users of py_pushover
//
// The client module of py_pushover has one class, ClientManager:
//
//	py_pushover.client.ClientManager       here
//	-------------------------------------  -------------------------------------------------
//	ClientManager(app_token)               New(Options{}); receiving needs no app token
//	ClientManager(app_token, secret,       New(Options{Credentials: credentials}), with
//	    device_id)                         LoadCredentials(path) to get stored ones
//	secret, device_id                      Client.Credentials, Credentials.Save
//	login(email, password),                Client.Enroll, or one by one Client.Login, then
//	register_device(name)                  RegisterDevice by Client.WithCredentials
//	retrieve_message(), messages           Client.Download(ctx); Client.Messages(ctx) for all
//	clear_server_messages()                Client.DeleteThrough(ctx, batch.Settled), unless
//	                                       that is 0
//	acknowledge_message(receipt)           Client.Acknowledge(ctx, receipt)
//	listen(on_msg_receipt)                 Client.Listen(ctx, handle)
//	listen_async(on_msg_receipt)           Client.StartListening(ctx, handle)
//	stop_listening()                       Listening.Stop()
//
// It differs in what it took users of such clients years to find out: ids are not
// rounded, messages that came while offline are fetched at every connect, a
// reload does not end listening, and a callback that fails loses nothing.
package pushover
