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

// What a caller may have to do something about. Match them with [errors.Is].
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
	// ErrSessionRejected: the service does not know the session secret or the
	// device any more. Nothing helps but a new login or device.
	ErrSessionRejected = errors.New("session secret or device not accepted")
	// ErrRateLimited: too many requests. See [RetryAfter].
	ErrRateLimited = errors.New("too many requests")
	// ErrUnavailable: no usable answer came, so nothing is known about the
	// request but that it may be tried again. See [RetryAfter].
	ErrUnavailable = errors.New("service not available")
	// ErrTooLarge: an answer, a message or a frame is larger than allowed.
	ErrTooLarge = errors.New("larger than allowed")
	// ErrStalled: a download brought only messages that the one before had
	// brought already: they were not deleted.
	ErrStalled = errors.New("no progress: messages downloaded again were not deleted")
	// ErrLoginNeeded: the stream said E. The secret is invalid or the device
	// is disabled, for instance for want of a licence. Do not reconnect
	// before the user has seen to it.
	ErrLoginNeeded = errors.New("login needed, or device disabled")
	// ErrTakenOver: the stream said A. The device logged in from elsewhere;
	// reconnecting would evict that session in turn, for ever.
	ErrTakenOver = errors.New("device was taken over by another session")
	// ErrSilent: the stream gave no sign of life for [Options.Silence].
	ErrSilent = errors.New("stream is silent")
	// ErrUndecryptable: the message is encrypted and no key fits, or its
	// content is damaged.
	ErrUndecryptable = errors.New("message cannot be decrypted")
)

// An APIError is an answer of the service that is not success. Its text holds
// no secret: whatever the service repeats of a request's secrets is redacted.
type APIError struct {
	Op         string              // login, register, messages, delete, acknowledge, icon, sound or stream
	HTTPStatus int                 // 200 if the document alone tells of the failure
	Errors     []string            // what the service says, for people
	Fields     map[string][]string // the same by parameter; "invalid" when only named
	RequestID  string              // to be quoted to the service's support
	RetryAfter time.Duration       // as the service asked; 0 if it did not

	codeSent bool   // a login with a two-factor code
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

// kind is the sentinel that tells what the caller can do about e, nil if there
// is nothing but to read the text.
func (e *APIError) kind() error {
	switch {
	case e.HTTPStatus == http.StatusTooManyRequests:
		return ErrRateLimited
	case e.trouble != "", e.HTTPStatus >= 500:
		return ErrUnavailable
	}
	switch e.Op {
	case opLogin:
		return e.loginKind()
	case opRegister:
		if e.names("name") {
			return e.nameKind()
		}
		return e.sessionKind()
	case opMessages, opDelete, opAcknowledge:
		return e.sessionKind()
	default:
		return nil
	}
}

// loginKind follows https://pushover.net/api/client#login: 412 asks for a code.
// What a wrong code gets is not documented; 412 again is the likeliest.
func (e *APIError) loginKind() error {
	switch {
	case e.HTTPStatus == http.StatusPreconditionFailed && !e.codeSent:
		return ErrTwoFactorNeeded
	case e.HTTPStatus == http.StatusPreconditionFailed, e.codeSent && e.names("twofa"):
		return ErrTwoFactorWrong
	default:
		return ErrLoginRefused
	}
}

// nameKind can tell a taken name from a malformed one by the text alone:
// "has already been taken".
func (e *APIError) nameKind() error {
	for _, t := range slices.Concat(e.Fields["name"], e.Errors) {
		if strings.Contains(t, "taken") {
			return ErrDeviceNameTaken
		}
	}
	return ErrDeviceNameInvalid
}

// sessionKind says whether the service rejects the session and not some other
// parameter. An answer that names nothing rejects the session if the request
// carried little else, or if the status says so.
func (e *APIError) sessionKind() error {
	switch e.HTTPStatus {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return nil
	}
	if e.names("secret") || e.names("device") || e.names("device_id") || e.names("user") {
		return ErrSessionRejected
	}
	if e.names("message") || e.names("receipt") {
		return nil
	}
	if e.Op == opMessages || e.Op == opDelete ||
		e.HTTPStatus == http.StatusUnauthorized || e.HTTPStatus == http.StatusForbidden {
		return ErrSessionRejected
	}
	return nil
}

// names reports whether the service blames the parameter: by key, or as the
// first word of a sentence.
func (e *APIError) names(field string) bool {
	if _, ok := e.Fields[field]; ok {
		return true
	}
	return slices.ContainsFunc(e.Errors, func(t string) bool {
		word, _, _ := strings.Cut(strings.TrimSpace(t), " ")
		return strings.EqualFold(word, field)
	})
}

// rejected reports whether the service understood the request and refused it,
// so that it must not be sent again unchanged
// (https://pushover.net/api#friendly).
func (e *APIError) rejected() bool {
	k := e.kind()
	return !errors.Is(k, ErrRateLimited) && !errors.Is(k, ErrUnavailable)
}

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
// for patience. A rejected request, a cancelled context and an answer beyond
// the limits are not retryable.
func Retryable(err error) bool {
	var closed *CloseError
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) ||
		errors.Is(err, ErrSilent) || errors.As(err, &closed)
}

const (
	minRetry     = 5 * time.Second // https://pushover.net/api#friendly
	maxRetry     = 5 * time.Minute
	minRateLimit = time.Minute
	maxAskedWait = 24 * time.Hour // a Retry-After beyond this is taken for a mistake
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
