package connector_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// A part is ok while all its activities are; two that fail in different ways by
// turns are one trouble, with one line in the log.
func TestPartIsOKWhileAllItsActivitiesAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		log := slog.New(slog.NewJSONHandler(&out, nil))
		h := connector.NewHealth(log, connector.NewMetrics(prometheus.NewRegistry(), "x", "", ""))
		c := connector.New(nil, connector.Options{Health: h, Logger: log})
		a, b := h.Activity(connector.PartBus), h.Activity(connector.PartBus)
		bus := func() connector.PartStatus { return part(c.Status(), connector.PartBus) }

		if got := bus(); got.OK || got.Reason != connector.ReasonStarting {
			t.Errorf("before any report the bus is %+v, want starting", got)
		}
		a.OK()
		if bus().OK {
			t.Error("the bus is ok though one activity is still starting")
		}
		b.OK()
		if !bus().OK {
			t.Error("the bus is not ok though all its activities are")
		}
		began := time.Now()
		for range 20 {
			a.Failed(&connector.Failure{Reason: connector.ReasonBusAuth, Detail: "auth", Remedy: "mend it"}, time.Now().Add(time.Second))
			b.Failed(&connector.Failure{Reason: connector.ReasonTimeout, Detail: "slow"}, time.Now().Add(time.Second))
			time.Sleep(time.Second)
		}
		got := bus()
		if got.OK || got.Reason != connector.ReasonBusAuth || got.Attempts != 20 || !got.Since.Equal(began) || got.NextAttempt == nil {
			t.Errorf("the bus is %+v, want the first failure, 20 attempts, since the first", got)
		}
		if n := strings.Count(out.String(), "bus failed, retrying"); n != 2 {
			t.Errorf("two activities that failed 20 times in turn have %d lines, want one for each reason:\n%s", n, out.String())
		}
		a.OK()
		if bus().OK || strings.Contains(out.String(), "recovered") {
			t.Error("the bus recovered though one activity still fails")
		}
		b.OK()
		if !bus().OK || !strings.Contains(out.String(), `"bus recovered","attempts":40,"after":20000000000`) {
			t.Errorf("the bus has not recovered: %+v\n%s", bus(), out.String())
		}
		b.Failed(errBusDown, time.Now().Add(time.Second))
		b.End()
		if !bus().OK || strings.Count(out.String(), "recovered") != 1 {
			t.Errorf("a failure that was withdrawn is %+v, want ok and no word of a recovery:\n%s", bus(), out.String())
		}
		if got := h.Activity(connector.PartStore); got != nil {
			t.Error("a part that this bus does not have takes an activity")
		}
	})
}

// What waits for a person is said again every few minutes, without any attempt.
func TestHaltedPartIsRepeatedInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		h := connector.NewHealth(slog.New(slog.NewJSONHandler(&out, nil)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); h.Watch(ctx) }()
		h.Activity(connector.PartSession).Failed(&connector.Failure{
			Reason: connector.ReasonTakenOver, Detail: "d", Remedy: "r",
		}, time.Time{})
		time.Sleep(time.Hour)
		cancel()
		<-done
		if n := strings.Count(out.String(), `"session halted","reason":"taken_over","error":"d","remedy":"r"`); n < 10 || n > 13 {
			t.Errorf("an hour has %d lines, want one at the start and one every five minutes:\n%s", n, out.String())
		}
	})
}

// A sink may have no health to report to.
func TestNoHealthTakesReports(*testing.T) {
	var h *connector.Health
	a := h.Activity(connector.PartBus)
	a.Failed(errBusDown, time.Now())
	a.OK()
	a.End()
}

func TestErrorsAreClassified(t *testing.T) {
	for want, err := range map[connector.Reason]error{
		connector.ReasonDNS:        &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x"}},
		connector.ReasonTLS:        fmt.Errorf("get: %w", x509.UnknownAuthorityError{}),
		connector.ReasonTimeout:    fmt.Errorf("publish: %w", context.DeadlineExceeded),
		connector.ReasonDiskFull:   &os.PathError{Op: "write", Err: syscall.ENOSPC},
		connector.ReasonNetwork:    &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		connector.ReasonFenced:     fmt.Errorf("x: %w", connector.ErrFenced),
		connector.ReasonBusFull:    fmt.Errorf("x: %w", &connector.Failure{Reason: connector.ReasonBusFull}),
		connector.ReasonUnexpected: errors.New("something else"),

		connector.ReasonServerError:   &pushover.APIError{Op: "messages", HTTPStatus: 503},
		connector.ReasonRateLimited:   &pushover.APIError{Op: "messages", HTTPStatus: 429},
		connector.ReasonRefusedSecret: &pushover.APIError{Op: "messages", HTTPStatus: 400, Errors: []string{"secret is invalid"}},
		connector.ReasonRefusedDevice: &pushover.APIError{Op: "messages", HTTPStatus: 400, Errors: []string{"device_id is invalid"}},
		connector.ReasonDisabled:      &pushover.APIError{Op: "messages", HTTPStatus: 403, Errors: []string{"device_id is disabled"}},
	} {
		h := connector.NewHealth(nil, nil)
		c := connector.New(nil, connector.Options{Health: h})
		h.Activity(connector.PartBus).Failed(err, time.Now())
		if got := part(c.Status(), connector.PartBus); got.Reason != want {
			t.Errorf("%v has reason %s, want %s", err, got.Reason, want)
		}
	}
}
