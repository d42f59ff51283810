// Command autoresolve acknowledges the emergencies of alerts that are resolved.
// Alertmanager and Grafana make every firing alert an emergency, and nothing
// cancels it when the alert is over.
//
//	NATS_URL=nats://127.0.0.1:4222 autoresolve
//
// It reads the messages that their default templates make, and looks at alerts,
// which their labels name, not at titles, which several groups can share. An
// emergency is acknowledged once every alert that it lists was resolved by later
// messages of the same application with the same URL. Whatever leaves a doubt is
// left to people and said: a list that Pushover's limit of 1024 characters cut
// short, texts of other templates, a resolution in the second of the alert.
//
// Label values must be of one line: one with a line "Annotations:" or "Labels:" cuts
// the alert's labels short, so that it can be mistaken for another.
//
// It keeps nothing. The log is its memory: at each start it reads as far back as
// an emergency can live, and looks in the control stream for the commands that were
// published since. Run one of it. Resolutions must go to
// the same application and device as the alerts (send_resolved: true).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// life is how long an emergency can ask for attention at most.
const life = 3 * time.Hour

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := watch(ctx, os.Getenv("NATS_URL"))
	stopped := ctx.Err() != nil
	stop()
	if !stopped {
		fmt.Fprintln(os.Stderr, "autoresolve:", err)
		os.Exit(1)
	}
}

// An event is what the connector makes of a message.
type event struct {
	ID           string
	Source       string
	Time         time.Time // of the message, to the second
	RecordedTime time.Time
	Data         struct {
		App, Title, Message, URL, Receipt string
		Acked, Stale                      bool
		RepeatOf                          string `json:"repeat_of"`
	}
}

// scope is what alerts are compared within: the same labels elsewhere are those of
// another alert.
func (e event) scope() string { return e.Source + "\n" + e.Data.App + "\n" + e.Data.URL }

// An emergency is open until all its alerts are resolved.
type emergency struct {
	event
	firing map[string]time.Time // when each alert was last said to fire; zero: resolved
}

type watcher struct {
	open        []*emergency
	acknowledge func(*emergency) error
}

// see takes the next event of the log.
func (w *watcher) see(e event) error {
	w.open = slices.DeleteFunc(w.open, func(o *emergency) bool { return e.RecordedTime.Sub(o.RecordedTime) > life })
	n := parse(e.Data.Title, e.Data.Message)
	if !n.alerts {
		return nil
	}
	for _, o := range w.open {
		if o.scope() != e.scope() {
			continue
		}
		for alert := range o.firing {
			if n.complete && !slices.Contains(n.firing, alert) {
				continue
			}
			// What is cut off may be this alert.
			o.firing[alert] = e.Time
		}
	}
	if !n.complete {
		fmt.Printf("left alone %s: %q does not list all its alerts\n", e.ID, e.Data.Title)
	} else if d := e.Data; len(n.firing) > 0 && d.Receipt != "" && !d.Acked && !d.Stale && d.RepeatOf == "" {
		o := &emergency{e, map[string]time.Time{}}
		for _, alert := range n.firing {
			o.firing[alert] = e.Time
		}
		w.open = append(w.open, o)
	}
	return w.resolve(e, n.resolved)
}

// resolve notes which alerts are over, and acknowledges the emergencies that have
// no other.
func (w *watcher) resolve(e event, alerts []string) error {
	for _, o := range slices.Clone(w.open) {
		over := false
		for _, alert := range alerts {
			fired, ok := o.firing[alert]
			if !ok || o.scope() != e.scope() {
				continue
			}
			// Within a second the log may have them in another order than they had.
			if !fired.Before(e.Time) {
				fmt.Printf("left alone %s: %q may be older than the alert's last firing\n", o.ID, e.Data.Title)
				continue
			}
			o.firing[alert], over = time.Time{}, true
		}
		for _, fired := range o.firing {
			over = over && fired.IsZero()
		}
		if !over {
			continue
		}
		if err := w.acknowledge(o); err != nil {
			return err
		}
		w.open = slices.DeleteFunc(w.open, func(other *emergency) bool { return other == o })
	}
	return nil
}

// A notification is what a message says of alerts, each named by its labels.
type notification struct {
	alerts           bool // it is one
	complete         bool // firing is all that fire
	firing, resolved []string
}

var titleForm = regexp.MustCompile(`^\[(?:FIRING:([0-9]+)(?:, RESOLVED:[0-9]+)?|RESOLVED)\]`)

// parse reads the message of the default templates of Alertmanager or Grafana.
func parse(title, message string) notification {
	m := titleForm.FindStringSubmatch(title)
	if m == nil {
		return notification{}
	}
	n := notification{alerts: true}
	var list *[]string
	var labels []string // of the alert that is being read
	reading := false
	for line := range strings.Lines(message) {
		switch line = strings.TrimRight(line, "\r\n"); {
		case line == "Alerts Firing:" || line == "**Firing**":
			list = &n.firing
		case line == "Alerts Resolved:" || line == "**Resolved**":
			list = &n.resolved
		case line == "Labels:":
			labels, reading = nil, true
		case reading && strings.HasPrefix(line, " - "):
			labels = append(labels, line)
		case reading && line == "Annotations:" && list != nil && len(labels) > 0:
			*list = append(*list, strings.Join(labels, "\n")) // whole: what follows is not cut off
			reading = false
		default:
			reading = false
		}
	}
	want, _ := strconv.Atoi(m[1]) // none in a resolution
	all := slices.Concat(n.firing, n.resolved)
	slices.Sort(all)
	n.complete = len(n.firing) == want && len(all) > 0
	if len(slices.Compact(all)) < len(n.firing)+len(n.resolved) { // one alert twice: not what it seems
		n.complete, n.resolved = false, nil
	}
	return n
}

// watch publishes a command for every emergency whose alerts are over.
func watch(ctx context.Context, url string) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	start := time.Now().Add(-life)
	commanded, err := commands(ctx, js, start)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, "PUSHOVER", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"pushover.messages.>"}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &start,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	w := &watcher{acknowledge: func(o *emergency) error {
		if time.Since(o.RecordedTime) > life || commanded[o.Data.Receipt] {
			return nil
		}
		command := fmt.Appendf(nil, `{"receipt":%q,"id":"autoresolve-%s"}`, o.Data.Receipt, o.ID)
		// One command for each receipt, also when a later start comes to it again.
		ack, err := js.Publish(ctx, "pushover.control.ack", command, jetstream.WithMsgID("autoresolve-"+o.Data.Receipt))
		if err == nil && !ack.Duplicate {
			fmt.Printf("acknowledging %s: %s\n", o.ID, o.Data.Title)
		}
		return err
	}}
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			fmt.Printf("skipped a message of %s that is not an event: %v\n", m.Subject(), err)
			continue
		}
		if err := w.see(e); err != nil {
			return err // all of it comes again at the next start
		}
	}
}

// commands returns the receipts that somebody has commanded to acknowledge.
func commands(ctx context.Context, js jetstream.JetStream, since time.Time) (map[string]bool, error) {
	const subject = "pushover.control.ack"
	known := map[string]bool{}
	stream, err := js.Stream(ctx, "PUSHOVER_CONTROL")
	if err != nil {
		return nil, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return known, nil
	case err != nil:
		return nil, err
	case last.Time.Before(since):
		return known, nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
	})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		var command struct{ Receipt string }
		if json.Unmarshal(m.Data(), &command) == nil { // others have other forms
			known[command.Receipt] = true
		}
		if at, err := m.Metadata(); err != nil || at.Sequence.Stream >= last.Sequence {
			return known, err
		}
	}
}
