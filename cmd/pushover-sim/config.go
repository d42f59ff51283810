package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

type config struct {
	listen, tlsListen, caFile string
	level                     slog.Level
	options                   pushovertest.Options
}

// parse reads the arguments. All problems are reported at once. Help goes to
// stdout and is flag.ErrHelp.
func parse(args []string, stdout, _ io.Writer) (config, error) {
	var c config
	var level string
	var unlicensed bool
	o := &c.options
	fs := flag.NewFlagSet("pushover-sim", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8800", "`address` for plain HTTP and websocket; port 0 takes a free one, \"\" serves none")
	fs.StringVar(&c.tlsListen, "tls-listen", "127.0.0.1:8443", "`address` for TLS, both host names; port 0 takes a free one, \"\" serves none")
	fs.StringVar(&c.caFile, "ca-file", "", "`file` to write the certificate authority to (default: a temporary one, named in the start line)")
	fs.StringVar(&o.Email, "email", "", "e-mail `address` of the first account (default me@example.org)")
	fs.StringVar(&o.Password, "password", "", "`password` of the first account (default: made up)")
	fs.StringVar(&o.UserKey, "user-key", "", "user `key` of the first account (default: made up)")
	fs.StringVar(&o.AppToken, "app-token", "", "application `token` of the first account (default: made up)")
	fs.BoolVar(&o.TwoFactor, "twofa", false, "ask the first account for a TOTP code at login")
	fs.IntVar(&o.PageSize, "page-size", 1000, "most messages per download, `n`; -1 for no limit")
	fs.DurationVar(&o.KeepAlive, "keepalive", 30*time.Second, "`time` between two '#' on a stream")
	fs.DurationVar(&o.Retention, "retention", 21*24*time.Hour, "how long a message waits, `time`")
	fs.DurationVar(&o.Trial, "trial", 30*24*time.Hour, "`time` that an unlicensed account may use its devices; 0s for none")
	fs.BoolVar(&unlicensed, "unlicensed", false, "give the first account no desktop licence")
	fs.IntVar(&o.MonthlyLimit, "monthly-limit", 10_000, "messages `n` that each account may send through the sending API")
	fs.BoolVar(&o.StrictDeviceID, "strict-device-id", false, "refuse the device id under the names \"device\" and \"deviceId\"")
	fs.StringVar(&level, "log-level", "info", "`level`: debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(fs, stdout)
		}
		return c, err //nolint:wrapcheck // says all there is to say
	}
	if o.Trial == 0 {
		o.Trial = -1 // 0 means the default there
	}
	licensed := !unlicensed
	o.Licensed = &licensed
	return c, c.validate(fs, level)
}

func (c *config) validate(fs *flag.FlagSet, level string) error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if fs.NArg() > 0 {
		bad("unexpected argument %q", fs.Arg(0))
	}
	if c.listen == "" && c.tlsListen == "" {
		bad("-listen and -tls-listen: one of them must be given")
	}
	if c.options.PageSize == 0 || c.options.PageSize < -1 {
		bad("-page-size: %d is neither positive nor -1", c.options.PageSize)
	}
	for name, d := range map[string]time.Duration{"-keepalive": c.options.KeepAlive, "-retention": c.options.Retention} {
		if d <= 0 {
			bad("%s: %s is not positive", name, d)
		}
	}
	if c.options.MonthlyLimit <= 0 {
		bad("-monthly-limit: %d is not positive", c.options.MonthlyLimit)
	}
	for name, v := range map[string]string{"-user-key": c.options.UserKey, "-app-token": c.options.AppToken} {
		if v != "" && !key(v) {
			bad("%s: must have 30 letters and digits", name)
		}
	}
	if err := c.level.UnmarshalText([]byte(level)); err != nil {
		bad("-log-level: %q is none of debug, info, warn, error", level)
	}
	return errors.Join(problems...)
}

func key(s string) bool {
	return len(s) == 30 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
