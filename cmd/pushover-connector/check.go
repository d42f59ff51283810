package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
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
		summary: "Check the configuration, Pushover and the bus, one line per check",
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
	unknown := unknownVariables(os.Environ())
	s, err := loadSettings()
	if err != nil {
		c.fail("configuration", err)
		for _, v := range unknown {
			c.line("warn", "configuration", v.String())
		}
		return
	}
	c.ok("configuration", "sink %s", s.general.Sink)
	for _, v := range unknown {
		c.line("warn", "configuration", v.String())
	}
	device := c.pushover(ctx, s)
	c.bus(ctx, s, device)
}

// pushover checks credentials and service, and returns the device's name.
func (c *checker) pushover(ctx context.Context, s *settings) string {
	a := s.pushover
	client, err := newClient(a, pushover.Options{})
	if err != nil {
		c.fail("pushover", err)
		return a.DeviceName
	}
	if a.Email != "" && a.Secret == "" {
		_, err := pushover.LoadCredentials(a.CredentialsFile)
		if errors.Is(err, fs.ErrNotExist) {
			c.beforeLogin(ctx, s, client)
			return a.DeviceName
		}
	}
	id, err := a.identify(client, slog.New(slog.DiscardHandler), "")
	if err != nil {
		c.fail("credentials", err)
		return a.DeviceName
	}
	c.ok("credentials", "device %s", id.device)
	if os.Getenv("PUSHOVER_DEVICE_NAME") != "" && a.DeviceName != id.device {
		c.line("warn", "credentials", "PUSHOVER_DEVICE_NAME is "+a.DeviceName+"; it is for a new device, and these credentials are of "+id.device)
	}

	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	batch, err := client.WithCredentials(id.credentials).Download(ctx)
	if err != nil {
		remedies := id.remedies
		remedies.Resume = s.resumeRemedy()
		c.service(remedies, err)
		return id.device
	}
	waiting := strconv.Itoa(len(batch.Messages))
	// The service does not say whether it gave all; a round number looks like a page.
	if n := len(batch.Messages); batch.More || n > 0 && n%100 == 0 {
		waiting += " or more"
	}
	plural := "s"
	if waiting == "1" {
		plural = ""
	}
	c.ok("pushover", "session accepted, %s message%s waiting", waiting, plural)
	if licensed := batch.User.DesktopLicensed; licensed != nil && !*licensed {
		c.line("warn", "licence", noLicence)
	}
	return id.device
}

// beforeLogin checks what the daemon's first login depends on, without logging in.
func (c *checker) beforeLogin(ctx context.Context, s *settings, client *pushover.Client) {
	a := s.pushover
	login := firstLogin{account: &a, resume: s.resumeRemedy()}
	if err := login.checkRefused(); err != nil {
		c.fail("credentials", err)
	} else {
		c.ok("credentials", "none yet; the daemon will log in once as %s and write %s", a.DeviceName, a.CredentialsFile)
	}
	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	_, err := client.Icon(ctx, "default") // a public file, which needs no credentials
	var answer *pushover.APIError
	if err != nil && !(errors.As(err, &answer) && answer.HTTPStatus == http.StatusNotFound) {
		c.service(connector.Remedies{}, err)
		return
	}
	c.ok("pushover", "reachable; the login was not tried")
}

// service reports that a request to Pushover failed.
func (c *checker) service(remedies connector.Remedies, err error) {
	f := remedies.Explain(err, nil)
	if f.Reason == connector.ReasonTLS {
		f.Remedy = "check PUSHOVER_API_URL, and PUSHOVER_CA_FILE if its certificate is not a public one"
	}
	c.fail("pushover", &f)
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

// gradeMeaning describes a grade in words.
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
