package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// maxCodes is how often a two-factor code is asked for. A login is never
// repeated otherwise.
const maxCodes = 3

func loginCommand() command {
	return command{
		name: "login", args: "[-output kubernetes -name NAME -namespace NS]",
		summary: "Log in, register this device, and store the credentials",
		help: `Asks for what it needs: e-mail address, password (not shown), the two-factor
code if the account has one, and the device's name. Without a terminal it reads
PUSHOVER_EMAIL, PUSHOVER_PASSWORD, PUSHOVER_TWOFA and PUSHOVER_DEVICE_NAME, each
secret also through a file named by NAME_FILE.

If there are credentials already, only the session secret is renewed and the
device stays the same. -output kubernetes prints a Secret to pipe into kubectl
and writes no file; it registers a new device, unless
PUSHOVER_CREDENTIALS_FILE names the credentials of the one to renew.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			var l login
			fs.StringVar(&l.output, "output", "file", "file, or kubernetes for a Secret on standard output")
			fs.StringVar(&l.name, "name", "pushover-connector", "name of the Secret")
			fs.StringVar(&l.namespace, "namespace", "", "namespace of the Secret; empty leaves it to kubectl")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				if l.output != "file" && l.output != "kubernetes" {
					return usageError("-output %q: want file or kubernetes", l.output)
				}
				settings := &settings{}
				sections := settings.sections()[:2] // a login concerns no sink
				var problems []error
				for _, sec := range sections {
					problems = append(problems, sec.read()...)
				}
				problems = append(problems, settings.pushover.validate()...)
				if err := errors.Join(problems...); err != nil {
					return err
				}
				l.account, l.streams = settings.pushover, s
				l.input = bufio.NewReader(s.in)
				l.terminal = term.IsTerminal(int(s.in.Fd()))
				return l.run(ctx)
			}
		},
	}
}

// login is one run of the login command. Prompts and explanations go to
// standard error, so that standard output can be a manifest.
type login struct {
	output, name, namespace string

	account  accountSettings
	streams  streams
	input    *bufio.Reader
	terminal bool
}

func (l *login) run(ctx context.Context) error {
	old, err := l.oldCredentials()
	if err != nil {
		return err
	}
	client, err := newClient(l.account, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	email, password, err := l.askLogin(ctx)
	if err != nil {
		return err
	}
	if old.DeviceID == "" {
		if err := l.askDeviceName(ctx); err != nil {
			return err
		}
		old.DeviceName = l.account.DeviceName
	}
	creds, err := l.enroll(ctx, client, email, password, old)
	if err != nil {
		return explain(err, old.DeviceName)
	}
	if err := l.store(creds); err != nil {
		return err
	}
	if old.DeviceID == "" {
		if err := swallowWelcome(ctx, client.WithCredentials(creds)); err != nil {
			l.say("The welcome message could not be removed and will arrive as an event: %v", err)
		}
	}
	return nil
}

// oldCredentials returns the device that is there already, if there is one.
func (l *login) oldCredentials() (pushover.Credentials, error) {
	renew := os.Getenv("PUSHOVER_CREDENTIALS_FILE") != ""
	if l.output != "file" && !renew {
		return pushover.Credentials{}, nil
	}
	if l.output == "file" && l.account.Secret != "" {
		return pushover.Credentials{}, errors.New("PUSHOVER_SECRET is set, so a credentials file would not be used; unset it first")
	}
	creds, err := pushover.LoadCredentials(l.account.CredentialsFile)
	switch {
	case err == nil:
		if creds.DeviceName == "" {
			creds.DeviceName = l.account.DeviceName
		}
		l.say("Device %q is registered already; renewing its session.", creds.DeviceName)
		return creds, nil
	case errors.Is(err, fs.ErrNotExist) && l.output != "file":
		return pushover.Credentials{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return pushover.Credentials{}, canSave(l.account.CredentialsFile)
	default:
		return creds, fmt.Errorf("PUSHOVER_CREDENTIALS_FILE: %w; move it away to register a new device", err)
	}
}

func (l *login) askLogin(ctx context.Context) (email string, password pushover.Secret, err error) {
	email, password = l.account.Email, l.account.Password
	if email != "" {
		return email, password, nil
	}
	if !l.terminal {
		return "", "", errors.New("there is no terminal to ask on: set PUSHOVER_EMAIL and PUSHOVER_PASSWORD, or PUSHOVER_PASSWORD_FILE")
	}
	if email, err = l.ask(ctx, "Pushover e-mail address"); err != nil {
		return "", "", err
	}
	password, err = l.askHidden(ctx, "Password (not shown)")
	return email, password, err
}

// askDeviceName lets the user choose another name than the configured one.
func (l *login) askDeviceName(ctx context.Context) error {
	if !l.terminal || os.Getenv("PUSHOVER_DEVICE_NAME") != "" {
		return nil
	}
	for {
		name, err := l.ask(ctx, fmt.Sprintf("Name for this device [%s]", l.account.DeviceName))
		switch {
		case err != nil:
			return err
		case name == "":
			return nil
		case deviceName.MatchString(name):
			l.account.DeviceName = name
			return nil
		}
		l.say("A device name is 1 to 25 letters, digits, _ or -.")
	}
}

// enroll logs in, and asks for a two-factor code when the service does.
func (l *login) enroll(ctx context.Context, client *pushover.Client, email string, password pushover.Secret,
	old pushover.Credentials,
) (pushover.Credentials, error) {
	code := l.account.TwoFA.Reveal()
	for try := 1; ; try++ {
		creds, err := enroll(ctx, client, email, password, code, old)
		wrong := errors.Is(err, pushover.ErrTwoFactorWrong)
		if !wrong && !errors.Is(err, pushover.ErrTwoFactorNeeded) {
			return creds, err
		}
		if !l.terminal || try > maxCodes {
			return creds, err
		}
		if wrong {
			l.say("That code was not accepted; each works once and for half a minute only.")
		}
		if code, err = l.ask(ctx, "Two-factor code"); err != nil {
			return creds, err
		}
	}
}

// explain adds what to do about an error that the user can do something about.
func explain(err error, device string) error {
	switch {
	case errors.Is(err, pushover.ErrTwoFactorNeeded):
		return fmt.Errorf("%w: the account has two-factor login; set PUSHOVER_TWOFA to the current code", err)
	case errors.Is(err, pushover.ErrTwoFactorWrong):
		return fmt.Errorf("%w: PUSHOVER_TWOFA is not the current code; each works once and for half a minute only", err)
	case errors.Is(err, pushover.ErrLoginRefused):
		return fmt.Errorf("%w: check PUSHOVER_EMAIL and PUSHOVER_PASSWORD; both are case-sensitive", err)
	case errors.Is(err, pushover.ErrDeviceNameTaken):
		return fmt.Errorf("%w: %q is taken; choose another PUSHOVER_DEVICE_NAME, or remove the old device on the Pushover dashboard",
			err, device)
	case errors.Is(err, pushover.ErrDeviceNameInvalid):
		return fmt.Errorf("%w: PUSHOVER_DEVICE_NAME must be 1 to 25 letters, digits, _ or -", err)
	default:
		return err
	}
}

func (l *login) store(creds pushover.Credentials) error {
	if l.output == "kubernetes" {
		manifest, err := secretManifest(creds, l.name, l.namespace)
		if err != nil {
			return err
		}
		if _, err := l.streams.out.Write(manifest); err != nil {
			return fmt.Errorf("the device is registered, but the manifest could not be written: %w", err)
		}
		l.say("Logged in as device %q. Apply the Secret with 'kubectl apply -f -', then install the chart with\n"+
			"  --set pushover.existingSecret=%s", creds.DeviceName, l.name)
		return nil
	}
	if err := creds.Save(l.account.CredentialsFile); err != nil {
		return fmt.Errorf("device %q is registered, but its credentials could not be stored: %w", creds.DeviceName, err)
	}
	l.say("Logged in as device %q.\nCredentials stored in %s (only you can read it).\n\n"+
		"Next: 'pushover-connector check' tries everything, 'pushover-connector' runs it.",
		creds.DeviceName, l.account.CredentialsFile)
	return nil
}

func (l *login) say(format string, args ...any) {
	fmt.Fprintf(l.streams.err, format+"\n", args...)
}

func (l *login) ask(ctx context.Context, prompt string) (string, error) {
	line, err := l.prompt(ctx, prompt, func() (string, error) { return l.input.ReadString('\n') })
	return strings.TrimSpace(line), err
}

func (l *login) askHidden(ctx context.Context, prompt string) (pushover.Secret, error) {
	password, err := l.prompt(ctx, prompt, func() (string, error) {
		password, err := term.ReadPassword(int(l.streams.in.Fd()))
		fmt.Fprintln(l.streams.err)
		return string(password), err
	})
	return pushover.Secret(password), err
}

// prompt shows a question and reads the answer. Ctrl-C ends it at once and
// leaves the terminal as it was; the read itself cannot be interrupted, and is
// left behind for the end of the process.
func (l *login) prompt(ctx context.Context, question string, read func() (string, error)) (string, error) {
	fmt.Fprintf(l.streams.err, "%s: ", question)
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	fd := int(l.streams.in.Fd())
	before, stateErr := term.GetState(fd)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return "", inputEnded(a.err)
		}
		return a.text, nil
	case <-ctx.Done():
		fmt.Fprintln(l.streams.err)
		if stateErr == nil {
			return "", errors.Join(errors.New("interrupted; nothing was changed"), term.Restore(fd, before))
		}
		return "", errors.New("interrupted; nothing was changed")
	}
}

func inputEnded(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("input ended before the login was complete")
	}
	return err
}
