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
	tried  map[string]attempts            // commands to be tried again, by id
}

type attempts struct {
	calls int       // made to Pushover
	tries int       // deliveries, calls or not
	until time.Time // when the command expires
}

func newCommander(c *Connector) *commander {
	return &commander{
		c: c, device: c.o.Device,
		acked: make(map[pushover.Receipt]time.Time),
		tried: make(map[string]attempts),
	}
}

// use makes client the one that acknowledges. It stays in use after its session
// has ended: acknowledging needs no push stream.
func (k *commander) use(client *pushover.Client, device string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client, k.device = client, device
}

func (k *commander) deviceName() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.device
}

// HandleCommand carries out one command and publishes its result; it is the
// [CommandHandler] for every bus. It makes at most one call to Pushover, and
// none for a receipt that it has acknowledged already, for a command it cannot
// understand, or while the session's credentials are known to be refused.
func (c *Connector) HandleCommand(ctx context.Context, cmd Command) (Result, error) {
	now := time.Now()
	if cmd.Time.IsZero() {
		cmd.Time = now
	}
	taken := cmd // the result's id stays with the bus's own time
	if cmd.Time.After(now) {
		cmd.Time = now // the bus's clock is ahead of ours
	}
	result, err := c.commands.execute(ctx, cmd)
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
		return Result{}, &RetryError{After: minCommandRetry, Err: fmt.Errorf("publish the result: %w", err)}
	}
	c.commands.ended(cmd, result)
	return result, nil
}

// Deliveries of a command that failed are spaced from the service's own minimum
// up to a minute. After an outage of the service the client's gate, which grows
// to five minutes and is shared by all calls, may hold the next one back longer.
const (
	minCommandRetry = 5 * time.Second
	maxCommandRetry = time.Minute
)

// execute decides a command's outcome. An error is always a *RetryError, or the
// end of ctx.
func (k *commander) execute(ctx context.Context, cmd Command) (Result, error) {
	result := Result{
		Device: k.deviceName(), CommandID: cmd.ID, CommandedAt: cmd.Time.UTC(),
	}
	receipt, id, err := decodeCommand(cmd.Body)
	if id != "" {
		result.CommandID = id
	}
	if err != nil {
		result.Malformed = true
		return result.end(StatusRejected, err.Error()), nil
	}
	result.Receipt = string(receipt)
	past, client := k.begin(cmd, receipt)
	result.Attempts = past.calls
	switch {
	case past.done:
		return result.end(StatusAcknowledged, ""), nil
	case time.Since(cmd.Time) >= emergencyLife:
		return result.end(StatusExpired, "the command was not carried out within the longest life of an emergency"), nil
	case client == nil || k.c.board.state() == StateLoginNeeded:
		return Result{}, k.retry(cmd, false, errors.New("the session needs a login"))
	}

	called := false // by this command, and not by another for the same receipt
	_, err, _ = k.flight.Do(string(receipt), func() (_ any, err error) {
		called, err = k.acknowledge(ctx, cmd, client, receipt)
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
func (k *commander) acknowledge(ctx context.Context, cmd Command, client *pushover.Client, receipt pushover.Receipt) (called bool, err error) {
	if past, _ := k.begin(cmd, receipt); past.done {
		return false, nil
	}
	call, cancel := context.WithDeadline(ctx, cmd.Time.Add(emergencyLife))
	defer cancel()
	if cmd.Progress != nil {
		cmd.Progress()
	}
	if err := client.Acknowledge(call, receipt); err != nil {
		return true, err
	}
	k.mu.Lock()
	k.acked[receipt] = time.Now()
	k.mu.Unlock()
	k.c.emergencies.close(string(receipt))
	return true, nil
}

type history struct {
	done  bool // the receipt was acknowledged by us
	calls int
}

// begin looks up what is known of a command and its receipt, and forgets what
// is too old to matter.
func (k *commander) begin(cmd Command, receipt pushover.Receipt) (history, *pushover.Client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for r, at := range k.acked {
		if now.Sub(at) > emergencyLife {
			delete(k.acked, r)
		}
	}
	for id, a := range k.tried {
		if now.After(a.until) && id != cmd.ID {
			delete(k.tried, id)
		}
	}
	k.c.m.commandsWaiting.Set(float64(len(k.tried)))
	_, done := k.acked[receipt]
	return history{done, k.tried[cmd.ID].calls}, k.client
}

// retry asks for the command again, later each time.
func (k *commander) retry(cmd Command, called bool, cause error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.tried[cmd.ID]
	if a.tries == 0 {
		k.c.log.Warn("command not carried out yet, will retry",
			slog.String("command_id", cmd.ID), slog.Any("error", cause))
	}
	a.tries++
	if called {
		a.calls++
	}
	a.until = cmd.Time.Add(emergencyLife + time.Hour)
	k.tried[cmd.ID] = a
	k.c.m.commandsWaiting.Set(float64(len(k.tried)))
	wait := min(minCommandRetry<<min(a.tries-1, 10), maxCommandRetry)
	return &RetryError{After: max(wait, pushover.RetryAfter(cause)), Err: cause}
}

// ended counts and logs a command whose result is durable.
func (k *commander) ended(cmd Command, r Result) {
	k.forget(cmd)
	k.c.m.commands.WithLabelValues(string(r.Status)).Inc()
	k.c.m.commandDuration.Observe(r.CompletedAt.Sub(r.CommandedAt).Seconds())
	k.c.log.Info("command ended", slog.String("command_id", cmd.ID),
		slog.String("status", string(r.Status)), slog.String("reason", r.Reason), slog.Int("attempts", r.Attempts))
}

// forget drops what is known of a command that will not be delivered again.
func (k *commander) forget(cmd Command) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tried, cmd.ID)
	k.c.m.commandsWaiting.Set(float64(len(k.tried)))
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
	}
	return Event{
		ID:         cmd.ID + "@" + strconv.FormatInt(cmd.Time.UnixNano(), 10),
		Source:     Source(r.Device),
		Type:       types[r.Status],
		Subject:    r.Receipt,
		Time:       r.CompletedAt,
		Extensions: []Extension{{"causationid", r.CommandID}},
		Data:       data,
		Class:      ClassResult,
		Route:      []string{"results", string(r.Status)},
		Key:        cmp.Or(r.Receipt, Source(r.Device)),
	}, nil
}
