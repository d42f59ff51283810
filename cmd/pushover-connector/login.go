package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// maxCodes is how often a two-factor code is asked for.
const maxCodes = 3

func loginCommand() command {
	return command{
		name: "login", args: "[-new-device] [-output kubernetes -name NAME -namespace NS]",
		summary: "Log in, register this device, and store the credentials",
		help: `Asks for what it needs: e-mail address, password (not shown), the two-factor
code if the account has one, and the device's name. Without a terminal it reads
PUSHOVER_EMAIL, PUSHOVER_PASSWORD, PUSHOVER_TWOFA and PUSHOVER_DEVICE_NAME, each
secret also from a file named by NAME_FILE.

If there are credentials already, only the session secret is renewed and the
device stays the same. The new secret is stored once a download with it has
worked. -new-device registers a new device instead, for one that was removed in
the Pushover dashboard; the old credentials are kept in a file ending in .old.

-output kubernetes prints a Secret to pipe into kubectl and writes no file. It
registers a new device, unless PUSHOVER_CREDENTIALS_FILE, or PUSHOVER_SECRET and
PUSHOVER_DEVICE_ID, hold the credentials of the one to renew.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			var l login
			fs.BoolVar(&l.newDevice, "new-device", false, "register a new device even if there are credentials")
			fs.StringVar(&l.output, "output", "file", "file, or kubernetes for a Secret on standard output")
			fs.StringVar(&l.name, "name", "pushover-connector", "name of the Secret")
			fs.StringVar(&l.namespace, "namespace", "", "namespace of the Secret; empty leaves it to kubectl")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				named := false
				fs.Visit(func(f *flag.Flag) { named = named || f.Name == "name" || f.Name == "namespace" })
				if named && l.output != "kubernetes" {
					return usageError("-name and -namespace are for a Secret: use them with -output kubernetes")
				}
				if l.output != "file" && l.output != "kubernetes" {
					return usageError("-output %q: want file or kubernetes", l.output)
				}
				settings := &settings{}
				sections := settings.sections()[:2] // a login does not involve a sink
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
	newDevice               bool

	account  accountSettings
	client   *pushover.Client
	streams  streams
	input    *bufio.Reader
	terminal bool
	soFar    string // what has been changed, for whoever interrupts
	kept     string // where the replaced credentials are, if there were some
}

func (l *login) run(ctx context.Context) error {
	l.soFar = "nothing was changed"
	err := l.enroll(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted; " + l.soFar)
	}
	return err
}

func (l *login) enroll(ctx context.Context) error {
	creds, err := l.oldCredentials()
	if err != nil {
		return err
	}
	if l.client, err = newClient(l.account, pushover.Options{}); err != nil {
		return err
	}
	if creds.Secret, err = l.signIn(ctx); err != nil {
		return err
	}
	l.soFar = "the login was accepted, but no device was registered and no credentials were stored"
	isNew := creds.DeviceID == ""
	if !isNew {
		if isNew, err = l.deviceRefused(ctx, creds); err != nil {
			return err
		}
	}
	if isNew {
		if creds, err = l.register(ctx, creds.Secret); err != nil {
			return err
		}
	}
	if err := l.store(creds, !isNew); err != nil {
		return err
	}
	if isNew {
		if err := l.client.WithCredentials(creds).DeleteWelcome(ctx); err != nil {
			l.say("The welcome message could not be removed and will arrive as an event: %v", err)
		}
	}
	return nil
}

// oldCredentials returns those of the device to renew, or none if one is to be
// registered.
func (l *login) oldCredentials() (pushover.Credentials, error) {
	var none, creds pushover.Credentials
	var err error
	switch toFile := l.output == "file"; {
	case toFile && l.account.Secret != "":
		return none, fmt.Errorf("%s is set, so a credentials file would not be used; unset it first", variableInUse("PUSHOVER_SECRET"))
	case toFile:
		if err := canSave(l.account.CredentialsFile); err != nil {
			return none, err
		}
		creds, err = pushover.LoadCredentials(l.account.CredentialsFile)
	case l.account.Secret != "":
		creds = l.account.fromEnvironment()
	case os.Getenv("PUSHOVER_CREDENTIALS_FILE") != "":
		creds, err = pushover.LoadCredentials(l.account.CredentialsFile)
	default:
		return none, nil
	}
	if creds.DeviceName == "" {
		creds.DeviceName = l.account.DeviceName
	}
	if os.Getenv("PUSHOVER_DEVICE_NAME") == "" {
		l.account.DeviceName = creds.DeviceName // for a device that takes its place
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), l.newDevice:
		return none, nil
	case err != nil:
		return none, fmt.Errorf("%s: %w; 'pushover-connector login -new-device' registers a new device and keeps this file as %s.old",
			credentialsLabel(), err, l.account.CredentialsFile)
	}
	l.say("Device %q is registered already; renewing its session.", creds.DeviceName)
	return creds, nil
}

// signIn logs in. A password is asked for twice at most: Pushover blocks
// addresses that keep sending wrong ones.
func (l *login) signIn(ctx context.Context) (pushover.Secret, error) {
	email, password, code := l.account.loginInput()
	typed := email == ""
	if typed && !l.terminal {
		return "", errors.New("not running in a terminal: set PUSHOVER_EMAIL and PUSHOVER_PASSWORD, or PUSHOVER_PASSWORD_FILE")
	}
	var err error
	if typed {
		if email, password, err = l.askLogin(ctx, ""); err != nil {
			return "", err
		}
	}
	for codes, again := 0, false; ; {
		account, err := l.client.Login(ctx, email, password, code)
		wrongCode := errors.Is(err, pushover.ErrTwoFactorWrong)
		switch {
		case err == nil:
			return account.Secret, nil
		case l.terminal && codes < maxCodes && (wrongCode || errors.Is(err, pushover.ErrTwoFactorNeeded)):
			if wrongCode {
				l.say("That code was not accepted; each works once and for about half a minute.")
			}
			codes++
			if code, err = l.ask(ctx, "Two-factor code"); err != nil {
				return "", err
			}
			code = withoutBlanks(code)
		case typed && !again && errors.Is(err, pushover.ErrLoginRefused):
			again = true
			l.say("E-mail or password not accepted (case matters).")
			if email, password, err = l.askLogin(ctx, email); err != nil {
				return "", err
			}
		default:
			return "", l.explain(err, typed)
		}
	}
}

// explain says why a login was refused. In a terminal it names no variable that
// the user did not set.
func (l *login) explain(err error, typed bool) error {
	why, fix := l.account.refusal(err)
	switch {
	case why == "":
		return err
	case l.terminal && (typed || !errors.Is(err, pushover.ErrLoginRefused)):
		return errors.New(why)
	default:
		return fmt.Errorf("%s; %s", why, fix)
	}
}

// deviceRefused tries the renewed credentials. It reports whether the service refuses
// the device and the user wants a new one.
func (l *login) deviceRefused(ctx context.Context, creds pushover.Credentials) (bool, error) {
	l.soFar = "the login was accepted, but the credentials were not replaced"
	_, err := l.client.WithCredentials(creds).Download(ctx)
	var answer *pushover.APIError
	switch {
	case err == nil:
		return false, nil
	case !errors.Is(err, pushover.ErrSessionRejected) || !errors.As(err, &answer) || answer.Refused() == pushover.RefusedSecret:
		return false, fmt.Errorf("%s, because a download with the new session failed: %w", l.soFar, err)
	case answer.Disabled():
		return false, fmt.Errorf("device %q is disabled, which a login does not change: enable it in the Pushover dashboard, "+
			"or buy the licence at https://pushover.net/clients/desktop if its trial is over; the credentials were not replaced", creds.DeviceName)
	}
	gone := fmt.Sprintf("Pushover refuses device %q: it was removed in the dashboard, or belongs to another account", creds.DeviceName)
	if !l.terminal {
		return false, fmt.Errorf("%s; 'pushover-connector login -new-device' registers a new one", gone)
	}
	l.say("%s.", gone)
	yes, err := l.ask(ctx, "Register a new device now? [y/N]")
	if err == nil && !strings.EqualFold(yes, "y") && !strings.EqualFold(yes, "yes") {
		err = errors.New("the credentials were not replaced; 'pushover-connector login -new-device' registers a new device")
	}
	return err == nil, err
}
