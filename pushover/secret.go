package pushover

import (
	"fmt"
	"log/slog"
)

// redacted stands for every secret that is printed, logged or marshalled.
const redacted = "REDACTED"

// Secret is a value that must not leave by accident: a session secret, a
// password, a key. Printing, logging or marshalling it, alone or in an exported
// field of another value, gives REDACTED; an empty one gives nothing. The text
// comes from [Secret.Reveal] or a conversion, and from what asks no method: fmt
// for an unexported field, the verb %p, and encoding/json for the keys of a map.
// The zero value is an absent secret.
type Secret string

// DeviceID names a registered device to the service. Together with the session
// secret it gives full power over the device's queue, so it is redacted like a
// [Secret]. The service's own documentation shows 40 letters and digits.
type DeviceID string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Reveal returns the device id itself.
func (d DeviceID) Reveal() string { return string(d) }

func redact(v string) string {
	if v == "" {
		return ""
	}
	return redacted
}

// Format implements [fmt.Formatter] for every verb, %#v included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redact(string(s))) }

// String returns REDACTED, or nothing if s is empty.
func (s Secret) String() string { return redact(string(s)) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redact(string(s))) }

// MarshalText implements [encoding.TextMarshaler], and so JSON as well.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redact(string(s))), nil }

// Format implements [fmt.Formatter] for every verb, %#v included.
func (d DeviceID) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redact(string(d))) }

// String returns REDACTED, or nothing if d is empty.
func (d DeviceID) String() string { return redact(string(d)) }

// LogValue implements [slog.LogValuer].
func (d DeviceID) LogValue() slog.Value { return slog.StringValue(redact(string(d))) }

// MarshalText implements [encoding.TextMarshaler], and so JSON as well.
func (d DeviceID) MarshalText() ([]byte, error) { return []byte(redact(string(d))), nil }
