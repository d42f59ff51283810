package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Checks looks at everything that publishing and commands need: the server is
// there and lets us in, JetStream is on, the streams are there and fit, and so
// does the consumer of commands. What would be created is not a failure. Whether
// this user may publish to a subject cannot be told without publishing; a denial
// since the connection was made is reported. Nothing is created or published.
//
// If the embedded server is still to be started, they look at whether it can be.
// If it runs in another process, that process is asked about its store.
func (b *Bus) Checks(ctx context.Context) []connector.Check {
	if b.nc == nil {
		return b.checksBeforeStart(ctx)
	}
	reach := connector.Check{Name: "nats connection", Detail: b.URL(), Err: b.Connected()}
	if reach.Err == nil {
		detail := []string{b.URL(), "server " + b.nc.ConnectedServerVersion()}
		if rtt, err := b.nc.RTT(); err == nil {
			detail = append(detail, "round trip "+rtt.String())
		}
		reach.Detail = strings.Join(detail, ", ")
	}
	checks := []connector.Check{reach}
	if reach.Err != nil {
		return checks
	}
	checks = append(checks, b.checkAccount(ctx))
	if b.embeddedServer() {
		checks = append(checks, b.checkStore(ctx))
	}
	for _, need := range b.needs() {
		checks = append(checks, b.checkStream(ctx, need))
	}
	checks = append(checks, b.checkConsumer(ctx))
	if denial := b.link.denial(""); denial != nil {
		checks = append(checks, connector.Check{Name: "nats permissions", Err: denial})
	}
	return checks
}

func (b *Bus) checkAccount(ctx context.Context) connector.Check {
	check := connector.Check{Name: "nats jetstream"}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		check.Err = b.apiError(err)
		return check
	}
	check.Detail = count(uint64(info.Streams), "stream")
	if info.Limits.MaxStore > 0 {
		check.Detail += fmt.Sprintf(", %d of %d bytes in use", info.Store, info.Limits.MaxStore)
	}
	return check
}

// embeddedServer reports whether the server is an embedded one, of this process or
// of another.
func (b *Bus) embeddedServer() bool {
	return b.server != nil || b.nc.ConnectedServerName() == embeddedName
}

// checkStore says how the embedded server's store is, as its own process sees it.
func (b *Bus) checkStore(ctx context.Context) connector.Check {
	check := connector.Check{Name: "nats store", Detail: "of the embedded server, each write is synced"}
	if b.server != nil {
		if f := b.server.trouble(); f != nil {
			check.Err = f
		}
		return check
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	answer, err := b.Request(ctx, "status", nil)
	var status connector.Status
	if err != nil || json.Unmarshal(answer, &status) != nil {
		check.Detail += "; its connector gives no status"
		return check
	}
	for _, p := range status.Parts {
		if p.Part == connector.PartStore && !p.OK {
			check.Err = &connector.Failure{Reason: p.Reason, Detail: p.Detail, Remedy: p.Remedy}
		}
	}
	return check
}

func (b *Bus) checkStream(ctx context.Context, need streamNeed) connector.Check {
	check := connector.Check{Name: "nats stream " + need.config.Name}
	info, err := b.streamInfo(ctx, need)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		check.Detail = "not there yet, will be created with " + strings.Join(need.config.Subjects, ", ")
	case err != nil:
		check.Err = err
	default:
		check.Detail = strings.Join(info.Config.Subjects, ", ") + ", " + count(info.State.Msgs, "message")
		check.Err = cmp.Or(need.fits(info.Config), need.full(info))
	}
	return check
}

func (b *Bus) checkConsumer(ctx context.Context) connector.Check {
	check := connector.Check{Name: "nats consumer " + durable}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cons, err := b.js.Consumer(ctx, b.cfg.ControlStream, durable)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		check.Detail = "not there yet, will be created for " + b.controlSubject()
	case err != nil:
		check.Err = fmt.Errorf("NATS_CONTROL_STREAM: look at consumer %s of stream %s: %w", durable, b.cfg.ControlStream, b.apiError(err))
	default:
		info := cons.CachedInfo()
		check.Detail = fmt.Sprintf("%s waiting, %d being carried out", count(info.NumPending, "command"), info.NumAckPending)
		check.Err = b.usable(info)
	}
	return check
}

func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
