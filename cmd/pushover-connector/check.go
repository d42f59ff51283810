package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// checkBudget bounds each of the check command's steps.
const checkBudget = 8 * time.Second

func checkCommand() command {
	return command{
		name: "check", args: "",
		summary: "Try the configuration, Pushover and the bus; print a line each",
		help: `Publishes, creates and deletes nothing, and does not open the push stream, since
that would take the device over from a running connector. Exits with 1 if
anything fails.`,
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				c := checker{out: s.out}
				c.all(ctx)
				if c.failed {
					return &exitError{code: 1}
				}
				return nil
			}
		},
	}
}

type checker struct {
	out    io.Writer
	failed bool
}

func (c *checker) line(verdict, name, text string) {
	for i, l := range strings.Split(strings.TrimSpace(text), "\n") {
		if i > 0 {
			verdict, name = "", ""
		}
		fmt.Fprintf(c.out, "%-4s  %-28s  %s\n", verdict, name, l)
	}
}

func (c *checker) ok(name, format string, args ...any) {
	c.line("ok", name, fmt.Sprintf(format, args...))
}

func (c *checker) fail(name string, err error) {
	c.failed = true
	c.line("FAIL", name, err.Error())
}

func (c *checker) all(ctx context.Context) {
	s, err := loadSettings()
	if err != nil {
		c.fail("configuration", err)
		return
	}
	c.ok("configuration", "sink %s, device %s", s.general.Sink, s.pushover.DeviceName)
	device := c.pushover(ctx, s.pushover)
	c.bus(ctx, s, device)
}

// pushover checks credentials and service, and returns the device's name.
func (c *checker) pushover(ctx context.Context, a accountSettings) string {
	client, err := newClient(a, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		c.fail("pushover", err)
		return a.DeviceName
	}
	if a.Email != "" && a.Secret == "" {
		_, err := pushover.LoadCredentials(a.CredentialsFile)
		if errors.Is(err, fs.ErrNotExist) {
			c.ok("credentials", "none yet; the daemon will log in once as %s and write %s", a.DeviceName, a.CredentialsFile)
			return a.DeviceName
		}
	}
	id, err := a.identify(ctx, client, slog.New(slog.DiscardHandler))
	if err != nil {
		c.fail("credentials", err)
		return a.DeviceName
	}
	c.ok("credentials", "device %s", id.device)

	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	batch, err := client.WithCredentials(id.credentials).Download(ctx)
	if err != nil {
		if errors.Is(err, pushover.ErrSessionRejected) {
			err = fmt.Errorf("%w; run 'pushover-connector login'", err)
		}
		c.fail("pushover", err)
		return id.device
	}
	more := ""
	if batch.More {
		more = " or more"
	}
	c.ok("pushover", "session accepted, %d%s message(s) waiting", len(batch.Messages), more)
	if licensed := batch.User.DesktopLicensed; licensed != nil && !*licensed {
		c.line("warn", "licence", "the account has no desktop licence; the device is disabled when the 30 day trial ends")
	}
	return id.device
}

func (c *checker) bus(ctx context.Context, s *settings, device string) {
	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	name := s.general.Sink
	b, err := openBus(ctx, s, busOptions{
		device: device, readOnly: true, out: io.Discard, log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.fail(name, err)
		return
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
		defer cancel()
		if err := b.close(closing); err != nil {
			c.fail(name, err)
		}
	}()
	usable := true
	for _, check := range b.checks(ctx) {
		if check.Err != nil {
			usable = false
			c.fail(check.Name, check.Err)
			continue
		}
		c.ok(check.Name, "%s", check.Detail)
	}
	if !usable {
		return // the rest would only fail for the same reason
	}
	d, err := b.durability(ctx)
	if err != nil {
		c.fail("durability", err)
		return
	}
	c.ok("durability", "%s (%s)", gradeMeaning(d.Grade), strings.Join(d.Facts, ", "))
	for _, w := range d.Warnings {
		c.line("warn", "durability", w)
	}
}

// gradeMeaning says a grade in words.
func gradeMeaning(g connector.Grade) string {
	switch g {
	case connector.GradePower:
		return "a confirmed event survives a power cut"
	case connector.GradeCrash:
		return "a confirmed event survives a crash of the broker, perhaps not a power cut"
	case connector.GradeProcess:
		return "a confirmed event survives the connector, not the broker"
	default:
		return "nothing is kept"
	}
}
