package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// commander carries out acknowledge commands. It is safe for concurrent use;
// one mutex guards its maps and is never held during a call.
type commander struct {
	c      *Connector
	flight singleflight.Group // one call per receipt at a time

	mu     sync.Mutex
	client *pushover.Client // of the latest session; nil before the first
	device string
	acked  map[pushover.Receipt]time.Time // receipts acknowledged by us, and when
	tried  map[string]attempts            // commands to be tried again, by place
	doing  *Activity                      // while a command waits; nil before the first

	late chan Command // requests whose results are to be published
}

// maxLate is how many results of requests wait for the bus.
const maxLate = 64

type attempts struct {
	calls int       // made to Pushover
	tries int       // deliveries, calls or not
	until time.Time // when the command expires
	ended *Result   // once it is decided: its result is not durable yet
	due   time.Time // when it should come again; until, while it is in hand
}

func newCommander(c *Connector) *commander {
	return &commander{
		c: c, device: c.o.Device,
		acked: make(map[pushover.Receipt]time.Time),
		tried: make(map[string]attempts),
		late:  make(chan Command, maxLate),
	}
}

// use makes client the one that acknowledges. It stays in use after its session
// has ended: acknowledging needs no push stream.
func (k *commander) use(client *pushover.Client, device string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client, k.device = client, device
}

// latest returns the client of the latest session.
func (k *commander) latest() *pushover.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.client
}

func (k *commander) deviceName() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.device
}

// HandleCommand carries out one command and publishes its result; it is the
// [CommandHandler] for every bus. For an ack it makes at most one call to
// Pushover, and none for a receipt that it has acknowledged already, for a command
// it cannot understand, or while the session's credentials are known to be refused.
func (c *Connector) HandleCommand(ctx context.Context, cmd Command) (Result, error) {
	now := time.Now()
	cmd.key = cmd.place()
	if cmd.Time.IsZero() {
		cmd.Time = now
	}
	taken := cmd // the result's id stays with the bus's own time
	if cmd.Time.After(now) {
		cmd.Time = now // the bus's clock is ahead of ours
	}
	result, err := c.commands.decide(ctx, cmd)
	if err != nil {
		return Result{}, err
	}
	event, err := resultEvent(taken, result)
	if err != nil {
		return Result{}, err
	}
	publish, cancel := context.WithTimeout(ctx, c.o.PublishTimeout)
	defer cancel()
	if _, err := c.publish(publish, []Event{event}); err != nil {
		return result, c.commands.retry(cmd, false, fmt.Errorf("%s, but the result is not published: %w", result.Status, err))
	}
	c.commands.ended(cmd, result)
	return result, nil
}

// decide carries a command out, unless that has been done and only its result is
// not durable yet: a second acknowledgement may be refused, and a second resume
// would find nothing to resume, or resume what has been halted since.
func (k *commander) decide(ctx context.Context, cmd Command) (Result, error) {
	if ended := k.kept(cmd); ended != nil {
		return *ended, nil
	}
	result, err := k.execute(ctx, cmd)
	if err == nil {
		k.keep(cmd, result)
	}
	return result, err
}

// Deliveries of a command that failed are spaced from the service's own minimum
// up to ten seconds, however long an outage lasts: an alarm is sounding that
// somebody has tried to silence. In trouble of the service the client holds the
// calls back to the service's pace anyway.
const (
	minCommandRetry = 5 * time.Second
	maxCommandRetry = 10 * time.Second
)

// execute decides a command's outcome. An error is always a *RetryError, or the
// end of ctx.
func (k *commander) execute(ctx context.Context, cmd Command) (Result, error) {
	result := Result{
		Device: k.deviceName(), CommandID: cmd.ID, CommandedAt: cmd.Time.UTC(),
	}
	decoded, err := decodeCommand(cmd.Body)
	if decoded.id != "" {
		result.CommandID = decoded.id
	}
	if err != nil {
		result.Malformed = true
		return result.end(StatusRejected, err.Error()), nil
	}
	if decoded.verb != verbAck {
		result.Command = decoded.verb
		return k.c.lever(result, time.Since(cmd.since())), nil
	}
	receipt := decoded.receipt
	result.Receipt = string(receipt)
	past, client := k.lookup(cmd, receipt)
	result.Attempts = past.calls
	sure := k.c.emergencies.outstanding(string(receipt))
	switch {
	case past.done:
		return result.end(StatusAcknowledged, ""), nil
	case !sure && time.Since(cmd.since()) >= EmergencyLife:
		return result.end(StatusExpired, "the command is not known to have been carried out within the longest life of an emergency"), nil
	case client == nil || k.c.health.state() == StateLoginNeeded:
		p := k.c.health.snapshot().part(PartSession)
		return Result{}, k.retry(cmd, false, &Failure{
			Reason: p.Reason, Detail: "the session needs a login: " + p.Detail, Remedy: p.Remedy,
		})
	}

	if delay := client.AcknowledgeDelay(); delay > 0 && !sure {
		return Result{}, k.retry(cmd, false, &heldBack{delay})
	}

	called := false // by this command, and not by another for the same receipt
	_, err, _ = k.flight.Do(string(receipt), func() (_ any, err error) {
		called, err = k.acknowledge(ctx, cmd, client, receipt, sure)
		return nil, err
	})
	if called {
		result.Attempts++
	}
	var refused *pushover.APIError
	switch {
	case err == nil:
		return result.end(StatusAcknowledged, ""), nil
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case errors.Is(err, pushover.ErrSessionRejected):
		k.c.Sync() // the session finds out the same way, and halts
		return Result{}, k.retry(cmd, called, err)
	case !pushover.Retryable(err) && errors.As(err, &refused):
		return result.end(StatusRejected, refusal(refused)), nil
	default:
		return Result{}, k.retry(cmd, called, err)
	}
}

// acknowledge makes the call, unless another command for the receipt has done
// so meanwhile. It gives up when the command's time is over.
func (k *commander) acknowledge(ctx context.Context, cmd Command, client *pushover.Client, receipt pushover.Receipt, sure bool) (called bool, err error) {
	if past, _ := k.lookup(cmd, receipt); past.done {
		return false, nil
	}
	until := cmd.since().Add(EmergencyLife)
	if sure { // whatever the sender's clock says
		until = time.Now().Add(EmergencyLife)
	}
	call, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if cmd.Progress != nil {
		cmd.Progress()
	}
	if api := client.APIState(); !api.Open { // the call will wait for its turn, and this is why
		k.hold(cmd, api)
	}
	call = pushover.Urgent(call)
	if sure {
		call = pushover.Sure(call)
	}
	if err := client.Acknowledge(call, receipt); err != nil {
		return true, err
	}
	k.mu.Lock()
	k.acked[receipt] = time.Now()
	k.mu.Unlock()
	k.c.emergencies.close(string(receipt), time.Now())
	return true, nil
}

// heldBack says that an acknowledgement of an emergency that is not known has to
// wait, because Pushover has rejected many: it must not keep the others waiting.
type heldBack struct{ wait time.Duration }

func (e *heldBack) Error() string {
	return "held back after many receipts that Pushover does not know"
}

type history struct {
	done  bool // the receipt was acknowledged by us
	calls int
}

// lookup returns what is known of a command and its receipt, and the client of
// the latest session, which is nil before the first. The command is in hand now,
// and so not overdue.
func (k *commander) lookup(cmd Command, receipt pushover.Receipt) (history, *pushover.Client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, again := k.tried[cmd.place()]; again {
		k.inHand(cmd)
	}
	_, done := k.acked[receipt]
	return history{done, k.tried[cmd.place()].calls}, k.client
}

// hold notes that a command waits, though it was not tried yet.
func (k *commander) hold(cmd Command, api pushover.APIState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inHand(cmd)
	k.settle(time.Now())
	k.waits(api.Err, api.RetryAt)
}

// inHand notes that a command is being carried out, however long that takes. The
// lock is held.
func (k *commander) inHand(cmd Command) {
	a := k.tried[cmd.place()]
	a.until = a.keptUntil(cmd)
	a.due = a.until
	k.tried[cmd.place()] = a
}

// keptUntil is when a command that has not come again is forgotten. What was
// decided outlives any outage of the bus, which delivers nothing meanwhile.
func (a attempts) keptUntil(cmd Command) time.Time {
	if a.ended != nil {
		return time.Now().Add(7 * 24 * time.Hour)
	}
	return cmd.since().Add(EmergencyLife + time.Hour)
}

// retry asks for the command again, later each time.
func (k *commander) retry(cmd Command, called bool, cause error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.tried[cmd.place()]
	a.tries++
	if called {
		a.calls++
	}
	a.until = a.keptUntil(cmd)
	wait := min(minCommandRetry<<min(a.tries-1, 10), maxCommandRetry)
	wait = max(wait, pushover.RetryAfter(cause))
	var held *heldBack
	if errors.As(cause, &held) {
		wait = max(wait, held.wait)
	}
	a.due = time.Now().Add(wait)
	k.tried[cmd.place()] = a
	k.settle(time.Now())
	if held == nil { // not trouble: the emergencies that are known do not wait
		k.waits(fmt.Errorf("command %s: %w", cmd.ID, cause), time.Now().Add(wait))
	}
	return &RetryError{After: wait, Err: cause}
}

// keep remembers how a command has ended until its result is durable. There are no
// more of them than a bus delivers at a time.
func (k *commander) keep(cmd Command, r Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.tried[cmd.place()]
	a.ended = &r
	k.tried[cmd.place()] = a
	k.inHand(cmd)
}

func (k *commander) kept(cmd Command) *Result {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tried[cmd.place()].ended
}

// publishLater publishes the results of requests that could not be published when
// they were answered: nobody delivers a request again.
func (k *commander) publishLater(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			for range len(k.late) {
				k.lost(<-k.late)
			}
			return
		case cmd := <-k.late:
			for {
				_, err := k.c.HandleCommand(ctx, cmd)
				var again *RetryError
				if !errors.As(err, &again) {
					break
				}
				if !pause(ctx, again.After) {
					k.lost(cmd)
					break
				}
			}
		}
	}
}

// lost says that the result of a request will not be in the log.
func (k *commander) lost(cmd Command) {
	k.c.log.Error("result of a request lost, the bus did not take it", slog.String("command_id", cmd.ID))
}

// ended counts and logs a command whose result is durable.
func (k *commander) ended(cmd Command, r Result) {
	k.forget(cmd)
	k.c.m.commands.WithLabelValues(string(r.Status)).Inc()
	k.c.m.commandDuration.Observe(r.CompletedAt.Sub(r.CommandedAt).Seconds())
	k.c.log.Info("command ended", slog.String("command", cmp.Or(r.Command, verbAck)), slog.String("command_id", cmd.ID),
		slog.String("status", string(r.Status)), slog.String("reason", r.Reason), slog.Int("attempts", r.Attempts))
}

// forget drops what is known of a command that will not be delivered again.
func (k *commander) forget(cmd Command) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tried, cmd.place())
	k.settle(time.Now())
}

// probing reports whether a command is about to be tried again, which will show
// whether the service is well. One that is late may be gone from the bus.
func (k *commander) probing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.tried {
		if time.Now().Before(a.due) {
			return true
		}
	}
	return false
}

// waits reports that a command waits for its next attempt. The lock is held.
func (k *commander) waits(err error, next time.Time) {
	if k.doing == nil { // not sooner: until the bus delivers, commands are not ok
		k.doing = k.c.health.Activity(PartCommands)
	}
	k.doing.Failed(err, next)
}

// overdue is how late a command may come again before it counts as gone: somebody
// has removed it from the bus, or another connector has it.
const overdue = 2 * time.Minute

// prune forgets acknowledgements that are too old to matter, and ends the failure
// of commands that do not come again. It is called now and then.
func (k *commander) prune(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for r, at := range k.acked {
		if now.Sub(at) > EmergencyLife {
			delete(k.acked, r)
		}
	}
	k.settle(now)
}

// settle forgets what is too old to matter, and counts the commands that are to be
// tried again. While there are none, all is well. The lock is held.
func (k *commander) settle(now time.Time) {
	waiting := 0
	for id, a := range k.tried {
		switch {
		case now.After(a.until):
			delete(k.tried, id)
		case now.Sub(a.due) < overdue:
			waiting++
		}
	}
	k.c.m.commandsWaiting.Set(float64(waiting))
	if waiting == 0 {
		k.doing.OK()
	}
}

// maxLeverAge is how old a status, sync or resume command may be: it was meant
// for the moment in which it was sent.
const maxLeverAge = 5 * time.Minute

// lever carries out a status, sync or resume command.
func (c *Connector) lever(r Result, age time.Duration) Result {
	if age > maxLeverAge {
		return r.end(StatusExpired, "the command is older than "+maxLeverAge.String())
	}
	var err error
	switch r.Command {
	case verbStatus:
		status := c.Status()
		r.Answer = &status
	case verbSync:
		err = c.requestSync()
	case verbResume:
		err = c.Resume()
	}
	if err != nil {
		return r.end(StatusRejected, err.Error())
	}
	return r.end(StatusDone, "")
}

func (r Result) end(s ResultStatus, reason string) Result {
	r.Status, r.Reason, r.CompletedAt = s, reason, time.Now().UTC()
	return r
}

// refusal is what Pushover said, in its own words where it said any.
func refusal(e *pushover.APIError) string {
	if len(e.Errors) > 0 {
		return "Pushover: " + truncate(strings.Join(e.Errors, "; "), 500)
	}
	return "Pushover: HTTP " + strconv.Itoa(e.HTTPStatus)
}

// resultEvent is the event that publishes a command's outcome. Its id is the
// command's place on the bus and the time the bus took it in: the same at every
// redelivery, and another one should the bus number its commands anew.
func resultEvent(cmd Command, r Result) (Event, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return Event{}, fmt.Errorf("encode result of %s: %w", cmd.ID, err)
	}
	types := map[ResultStatus]string{
		StatusAcknowledged: TypeAcknowledged, StatusRejected: TypeRejected, StatusExpired: TypeExpired,
		StatusDone: TypeCommandDone,
	}
	if r.Command != "" && r.Status != StatusDone {
		types[r.Status] = TypeCommandRejected
	}
	extensions := []Extension{{"causationid", r.CommandID}}
	if r.Receipt != "" {
		extensions = append(extensions, Extension{correlationID, r.Receipt})
	}
	return Event{
		ID:         numberAt(cmd.ID, cmd.Time),
		Source:     Source(r.Device),
		Type:       types[r.Status],
		Subject:    r.Receipt,
		Time:       r.CompletedAt,
		Extensions: extensions,
		Data:       data,
		Schema:     SchemaResult,
		Class:      ClassResult,
		Route:      []string{"results", string(r.Status)},
		Key:        cmp.Or(r.Receipt, Source(r.Device)),
	}, nil
}
