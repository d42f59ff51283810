package pushover

import (
	"net/url"
	"strings"
	"unicode"
)

const maxErrorText = 300

// cleanText makes text of unknown origin fit for an error or a log: one line of
// printable characters, not too long.
func cleanText(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

// scrub removes the private values from a text, in every form in which a URL or
// a quoting message may show them.
func scrub(s string, private []string) string {
	for _, p := range private {
		if p == "" {
			continue
		}
		for _, form := range []string{p, url.QueryEscape(p), url.PathEscape(p)} {
			s = strings.ReplaceAll(s, form, redacted)
		}
	}
	return s
}

// newSendError keeps the cause only if its text is harmless, since whoever
// unwraps an error may print what he finds.
func newSendError(op string, cause error, private []string) error {
	raw := cause.Error()
	clean := scrub(raw, private)
	e := &sendError{op: op, text: cleanText(clean)}
	if clean == raw {
		e.cause = cause
	}
	return e
}
