package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

func tailCommand() command {
	return command{
		name: "tail", args: "[-n 20] [-f] [-since 1h] [flags]",
		summary: "Print the newest events of the log, one line each",
		help: `Reads the log itself, with the connector's own settings; the connector need not
run. Ctrl-C ends -f. With -json each line is an object with the event's place in
the log, the time at which the bus took it in, and the event.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			var t tail
			fs.IntVar(&t.last, "n", 20, "stored events to print first; with -since, all")
			fs.BoolVar(&t.follow, "f", false, "keep printing new events")
			fs.DurationVar(&t.since, "since", 0, "only events stored within this `time`, such as 90m")
			fs.StringVar(&t.priority, "priority", "", "only events of this `priority`: "+strings.Join(priorities(), ", "))
			fs.StringVar(&t.app, "app", "", "only events of the application with this `name`, in any case")
			fs.BoolVar(&t.json, "json", false, "print JSON, one object a line")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				counted := false
				fs.Visit(func(f *flag.Flag) { counted = counted || f.Name == "n" })
				if t.since > 0 && !counted {
					t.last = 0
				}
				switch {
				case t.last < 0 || t.last == 0 && counted:
					return usageError("-n %d: want 1 or more", t.last)
				case t.since < 0:
					return usageError("-since %v: want a duration such as 90m", t.since)
				case t.priority != "" && !slices.Contains(priorities(), t.priority):
					return usageError("-priority %q: want lowest, low, normal, high or emergency", t.priority)
				}
				return t.run(ctx, s)
			}
		},
	}
}

func priorities() []string {
	var names []string
	for p := pushover.PriorityLowest; p <= pushover.PriorityEmergency; p++ {
		names = append(names, p.String())
	}
	return names
}

// tail is what its flags say.
type tail struct {
	last         int // 0 means all
	since        time.Duration
	follow, json bool
	priority     string
	app          string
}

func (t tail) run(ctx context.Context, s streams) error {
	b, err := openLog(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = b.close(context.WithoutCancel(ctx)) }()
	q := connector.Query{
		Classes:  []connector.Class{connector.ClassMessage, connector.ClassDeadLetter},
		Priority: t.priority, Last: t.last, Follow: t.follow,
	}
	if t.since > 0 {
		q.Since = time.Now().Add(-t.since)
	}
	printed := 0
	show := func(e connector.Stored) error {
		printed++
		return t.print(s.out, e)
	}
	// The log cannot select by application, nor dead letters by priority. The
	// newest of those are picked here, and new ones are followed from there.
	if t.app != "" || t.priority != "" {
		err = t.selected(ctx, b, q, show)
	} else {
		err = b.read(ctx, q, show)
	}
	switch {
	case t.follow && ctx.Err() != nil:
		return nil // that is how it ends
	case err != nil:
		return err
	case printed > 0:
	case t.app != "" || t.priority != "" || t.since > 0:
		fmt.Fprintln(s.err, "no matching events stored")
	default:
		fmt.Fprintln(s.err, "no events stored")
	}
	return nil
}

// openLog opens the bus to read its log.
func openLog(ctx context.Context, s streams) (*bus, error) {
	settings, err := loadSettings()
	if err != nil {
		return nil, err
	}
	if settings.general.Sink == "stdout" {
		return nil, errKeepsNothing
	}
	return openBusAsClient(ctx, settings, s)
}

// selected shows the newest events that the flags select, and then those that
// come.
func (t tail) selected(ctx context.Context, b *bus, q connector.Query, show func(connector.Stored) error) error {
	q.Last, q.Follow = 0, false
	var newest []connector.Stored
	var at time.Time                  // of the last event read, selected or not
	seenThen := make(map[string]bool) // places of those that the bus took in at that time
	err := b.read(ctx, q, func(e connector.Stored) error {
		if e.At.After(at) {
			at = e.At
			clear(seenThen)
		}
		seenThen[e.Place] = true
		switch {
		case !t.selects(e):
			return nil
		case t.last == 0:
			return show(e)
		case len(newest) == t.last:
			newest = newest[1:]
		}
		newest = append(newest, e)
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range newest {
		if err := show(e); err != nil {
			return err
		}
	}
	if !t.follow {
		return nil
	}
	q.Follow = true
	if !at.IsZero() {
		q.Since = at
	}
	return b.read(ctx, q, func(e connector.Stored) error {
		if e.At.Before(at) || seenThen[e.Place] || !t.selects(e) {
			return nil
		}
		return show(e)
	})
}

func (t tail) selects(e connector.Stored) bool {
	d := eventline.DataOf(e)
	return (t.app == "" || strings.EqualFold(d.App, t.app)) && (t.priority == "" || d.Priority == t.priority)
}

func (t tail) print(w io.Writer, e connector.Stored) error {
	if t.json {
		line, err := json.Marshal(struct {
			Place string          `json:"place"`
			At    time.Time       `json:"at"`
			Event connector.Event `json:"event"`
		}{e.Place, e.At, e.Event})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", line)
		return err
	}
	_, err := fmt.Fprintln(w, eventline.Of(e))
	return err
}
