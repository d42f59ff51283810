package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
)

func statusCommand() command {
	return command{
		name: "status", args: "[-json] [-timeout 10s]",
		summary: "Show what works, what fails, since when, and what to do",
		help: `Asks the running connector: over its bus, or where that fails at HTTP_ADDR.

Exit codes: 0 ready; 1 not ready; 2 it cannot be reached.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			asJSON := fs.Bool("json", false, "print the status document")
			timeout := fs.Duration("timeout", askBudget, "how long to wait for the answer")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				status, err := askStatus(ctx, s, *timeout)
				if err != nil {
					return &exitError{exitNotAsked, err}
				}
				if *asJSON {
					err = printJSON(s.out, status)
				} else {
					printStatus(s.out, status, time.Now())
				}
				if err == nil && !status.Ready {
					err = &exitError{code: 1}
				}
				return err
			}
		},
	}
}

func printStatus(w io.Writer, s connector.Status, now time.Time) {
	fmt.Fprintf(w, "%s\n", verdict(s.Ready, s.Parts))
	fmt.Fprintf(w, "device %s, version %s, session %s since %s\n\n",
		eventline.Printable(s.Device), eventline.Printable(s.Version), s.State, clock(s.Since, now))
	printParts(w, s.Parts, now)

	fact := func(name, value string) {
		fmt.Fprintf(w, "%-14s %s\n", name, value)
	}
	fmt.Fprintln(w)
	fact("queue", queueText(s, now))
	fact("last download", when(s.LastDownload, now))
	fact("last publish", when(s.LastPublish, now))
	fact("last signal", when(s.LastSignal, now))
	fact("emergencies", emergenciesText(s.Emergencies))
	fact("sink", strings.TrimSpace(s.Sink.Name+" "+s.Sink.Address))
	if s.Sink.Durability != "" {
		fact("durability", durabilityText(s.Sink.Durability))
	}
	for _, warning := range s.Sink.Warnings {
		fact("warning", warning)
	}
	if s.Licence.Desktop != nil && !*s.Licence.Desktop {
		fact("licence", noLicence)
	}
}

// noLicence is what status and check say about an account in its trial.
const noLicence = "the account has no desktop licence; the device is disabled when the 30-day trial ends"

func verdict(ready bool, parts []connector.PartStatus) string {
	if ready {
		return "ready"
	}
	var failing []string
	for _, p := range parts {
		if !p.OK {
			failing = append(failing, string(p.Part))
		}
	}
	return "not ready: " + cmp.Or(strings.Join(failing, ", "), "starting")
}

// printParts prints a line for each part, and for one that fails what there is to
// know and to do.
func printParts(w io.Writer, parts []connector.PartStatus, now time.Time) {
	for _, p := range parts {
		state := "ok"
		switch {
		case p.OK:
		case p.Reason == connector.ReasonStarting:
			state = "wait"
		default:
			state = "FAIL"
		}
		line := fmt.Sprintf("%-4s  %-9s since %s (%s)", state, p.Part, clock(p.Since, now), span(now.Sub(p.Since)))
		if !p.OK {
			line += fmt.Sprintf(", %s", p.Reason)
		}
		if p.Attempts > 0 {
			line += fmt.Sprintf(", failed attempts: %d", p.Attempts)
		}
		switch {
		case p.NextAttempt == nil:
		case p.NextAttempt.After(now):
			line += fmt.Sprintf(", next in %s at %s", span(p.NextAttempt.Sub(now)), clock(*p.NextAttempt, now))
		default:
			line += ", next due now"
		}
		fmt.Fprintln(w, line)
		if p.Detail != "" && p.Detail != string(p.Reason) {
			fmt.Fprintf(w, "      %s\n", eventline.Printable(p.Detail))
		}
		if p.Remedy != "" {
			fmt.Fprintf(w, "      to do: %s\n", eventline.Printable(p.Remedy))
		}
	}
}

func when(t *time.Time, now time.Time) string {
	if t == nil {
		return "none yet"
	}
	return fmt.Sprintf("%s (%s ago)", clock(*t, now), span(now.Sub(*t)))
}

// queueText says "empty" only while the queue is being looked at.
func queueText(s connector.Status, now time.Time) string {
	q := s.Queue
	if q.Waiting == 0 {
		for _, p := range s.Parts {
			if !p.OK && (p.Part == connector.PartSession || p.Part == connector.PartDownload) {
				return "none known to wait"
			}
		}
		return "empty"
	}
	text := fmt.Sprint(q.Waiting)
	if q.AtLeast {
		text += " or more"
	}
	text += " waiting"
	if q.OldestQueuedAt != nil {
		text += fmt.Sprintf(", the oldest for %s", span(now.Sub(*q.OldestQueuedAt)))
	}
	return text
}

func emergenciesText(e connector.EmergenciesStatus) string {
	text := fmt.Sprintf("%d outstanding", len(e.Outstanding))
	if !e.Known {
		text = fmt.Sprintf("unknown so far, %d since the start", len(e.Outstanding))
	}
	if len(e.Outstanding) > 0 {
		text += ": 'pushover-connector emergencies' lists them"
	}
	return text
}

// durabilityText describes a grade in words; a status has only its name.
func durabilityText(name string) string {
	for _, g := range []connector.Grade{connector.GradeNone, connector.GradeProcess, connector.GradeCrash, connector.GradePower} {
		if g.String() == name {
			return gradeMeaning(g)
		}
	}
	return name
}

func healthcheckCommand() command {
	return command{
		name:    "healthcheck",
		summary: "Ask the connector on this machine whether it is ready",
		help:    "Prints a line for each part and exits with 0 if all are ok: a health check for a\ncontainer without a shell. It asks at HTTP_ADDR.",
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				return healthcheck(ctx, s)
			}
		},
	}
}

func healthcheck(ctx context.Context, s streams) error {
	general := &generalSettings{}
	if problems := (section{"General", "", general}).read(); len(problems) > 0 {
		return errors.Join(problems...)
	}
	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	response, err := getLocal(ctx, general.HTTPAddr, "/readyz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Ready bool                   `json:"ready"`
		Parts []connector.PartStatus `json:"parts"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStatus)).Decode(&answer); err != nil {
		return fmt.Errorf("what listens on HTTP_ADDR=%s is not a connector: it answers %s", general.HTTPAddr, response.Status)
	}
	fmt.Fprintln(s.out, verdict(answer.Ready, answer.Parts))
	printParts(s.out, answer.Parts, time.Now())
	if !answer.Ready || response.StatusCode != http.StatusOK {
		return &exitError{code: 1}
	}
	return nil
}
