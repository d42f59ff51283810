package pushover

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Errors a caller may have to act on. Match them with [errors.Is].
var (
	// ErrTwoFactorNeeded: the account has two-factor login; call Login again
	// with the current code.
	ErrTwoFactorNeeded = errors.New("two-factor code needed")
	// ErrTwoFactorWrong: the code was not accepted. Codes are good for one
	// login and about half a minute; ask for another one.
	ErrTwoFactorWrong = errors.New("two-factor code not accepted")
	// ErrLoginRefused: e-mail or password is wrong. Both are case-sensitive.
	ErrLoginRefused = errors.New("e-mail or password not accepted")
	// ErrDeviceNameTaken: the account has a device of that name already.
	ErrDeviceNameTaken = errors.New("device name is already taken")
	// ErrDeviceNameInvalid: the name breaks the rule for device names.
	ErrDeviceNameInvalid = errors.New("device name is not valid: want 1 to 25 letters, digits, _ or -")
	// ErrSessionRejected: the service no longer accepts the session secret or the
	// device. Only a new login helps, or a new or re-enabled device:
	// [APIError.Refused] says which.
	ErrSessionRejected = errors.New("session secret or device not accepted")
	// ErrRateLimited: too many requests. See [RetryAfter].
	ErrRateLimited = errors.New("too many requests")
	// ErrUnavailable: there was no usable answer. The request may or may not have
	// been carried out, and may be tried again. See [RetryAfter].
	ErrUnavailable = errors.New("service not available")
	// ErrTooLarge: an answer, a message or a frame is larger than allowed.
	ErrTooLarge = errors.New("larger than allowed")
	// ErrStalled: a download brought only messages that the one before had
	// brought already: they were not deleted.
	ErrStalled = errors.New("no progress: messages downloaded again were not deleted")
	// ErrLoginNeeded: the stream said E. The secret is invalid or the device
	// is disabled, for instance because the licence is missing. Do not reconnect
	// until the user has fixed that.
	ErrLoginNeeded = errors.New("login needed, or device disabled")
	// ErrTakenOver: the stream said A. The device logged in from elsewhere.
	// Reconnecting would evict that session, which would evict this one, for ever.
	ErrTakenOver = errors.New("device was taken over by another session")
	// ErrSilent: the stream gave no sign of life for [Options.Silence].
	ErrSilent = errors.New("stream is silent")
	// ErrUndecryptable: the message is encrypted and no key fits, or its
	// content is damaged.
	ErrUndecryptable = errors.New("message cannot be decrypted")
)

// An APIError is an answer of the service other than success. Its text contains
// no secret: any secret of the request that the service repeats is redacted.
type APIError struct {
	Op         string              // login, register, messages, delete, acknowledge, icon, sound or stream
	HTTPStatus int                 // 200 if only the document reports the failure
	Errors     []string            // the service's own words, for people
	Fields     map[string][]string // the same by parameter; "invalid" when only named
	RequestID  string              // to quote to the service's support
	RetryAfter time.Duration       // as the service asked; 0 if it did not

	codeSent bool   // a login with a two-factor code
	sure     bool   // the call was known to be right
	trouble  string // why the answer says nothing about the request, as in "is not JSON"
}

// Error says what was asked, what came back and the service's own words.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: the service answered %d", e.Op, e.HTTPStatus)
	if text := http.StatusText(e.HTTPStatus); text != "" && e.HTTPStatus != http.StatusOK {
		b.WriteString(" " + text)
	}
	if e.trouble != "" {
		b.WriteString(", " + e.trouble)
	}
	if k := e.kind(); k != nil {
		b.WriteString(": " + k.Error())
	}
	if len(e.Errors) > 0 {
		b.WriteString(": " + strings.Join(e.Errors, "; "))
	} else if len(e.Fields) > 0 {
		b.WriteString(": " + strings.Join(slices.Sorted(maps.Keys(e.Fields)), ", ") + " is invalid")
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// Is matches the sentinel errors of this package.
func (e *APIError) Is(target error) bool { return target != nil && target == e.kind() }

// A sendError says why there is no answer, or only part of one. Its text is free
// of the request's secrets; cause is nil if the cause's own text is not.
type sendError struct {
	op, text string
	cause    error
}

func (e *sendError) Error() string        { return e.op + ": no usable answer: " + e.text }
func (e *sendError) Unwrap() error        { return e.cause }
func (e *sendError) Is(target error) bool { return target == ErrUnavailable }

// Retryable reports whether the same call may succeed later without any change:
// the service was unreachable, failed, made no sense, closed the stream or asked
// for patience, or something on the way answered in its place (a proxy, a captive
// portal). A rejected request, a cancelled context and an answer beyond the limits
// are not retryable.
func Retryable(err error) bool {
	var closed *CloseError
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) ||
		errors.Is(err, ErrSilent) || errors.As(err, &closed)
}

const (
	minRetry     = 5 * time.Second // https://pushover.net/api#friendly
	maxRetry     = 5 * time.Minute
	minRateLimit = time.Minute
	maxAskedWait = 24 * time.Hour // the longest Retry-After of a 429 that is kept

	maxFailureWait = time.Hour // and of any other answer
)

// RetryAfter returns how long to wait at least before trying again: 0 if err is
// not [Retryable], else 5 seconds or more, a minute or more when rate-limited,
// and as long as the service asked for. Callers that keep failing should wait
// longer each time; a [Client] does so by itself.
func RetryAfter(err error) time.Duration {
	if !Retryable(err) {
		return 0
	}
	wait := minRetry
	if errors.Is(err, ErrRateLimited) {
		wait = minRateLimit
	}
	if e := (*APIError)(nil); errors.As(err, &e) {
		wait = max(wait, e.RetryAfter)
	}
	return wait
}
