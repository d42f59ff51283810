package pushover

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// kind is the sentinel that says what the caller can do about e, nil if only the
// text does.
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
		return e.registerKind()
	case opMessages, opDelete, opAcknowledge:
		return e.verdictKind()
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

// registerKind takes every answer for final, as loginKind does: a person asked
// for it once, and is there to read it.
func (e *APIError) registerKind() error {
	switch {
	case e.names("name"):
		return e.nameKind()
	case e.blamesSession(), e.HTTPStatus == http.StatusUnauthorized, e.HTTPStatus == http.StatusForbidden:
		return ErrSessionRejected
	default:
		return nil
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

// verdictKind judges the calls that a program makes all day. An answer is a
// verdict only if it can be one: it has a status for refusals and says what it
// refuses. Taking anything else for one, such as "409" or "the queue is busy",
// would stop delivery for good because of something that passes.
//
// Two kinds of answer are verdicts although they name nothing: 401 and 403 for
// the session, and for an acknowledgement any of the four, since the receipt is
// all that distinguishes it from its neighbours. But a 400 is none on a receipt
// that the service itself has delivered ([Sure]).
func (e *APIError) verdictKind() error {
	unauthorized := e.HTTPStatus == http.StatusUnauthorized
	forbidden := e.HTTPStatus == http.StatusForbidden
	switch {
	case !unauthorized && !forbidden && e.HTTPStatus != http.StatusBadRequest && e.HTTPStatus != http.StatusNotFound:
		return ErrUnavailable
	case e.blamesSession():
		return ErrSessionRejected
	case e.Op == opDelete && e.names("message"), e.Op == opAcknowledge && e.names("receipt"):
		return nil
	case unauthorized, forbidden && e.Op != opAcknowledge:
		return ErrSessionRejected
	case e.Op == opAcknowledge && !(e.sure && e.HTTPStatus == http.StatusBadRequest):
		return nil
	default:
		return ErrUnavailable
	}
}

// The parts of the credentials, as [APIError.Refused] names them.
const (
	RefusedSecret = "secret"
	RefusedDevice = "device"
)

// Refused returns which part of the credentials the service does not accept:
// [RefusedSecret], which a new login mends, [RefusedDevice], which it does not,
// or "" if e is not [ErrSessionRejected] or does not say.
func (e *APIError) Refused() string {
	switch {
	case !errors.Is(e, ErrSessionRejected):
		return ""
	case e.names("secret"):
		return RefusedSecret
	case e.names("device_id"), e.names("device"):
		return RefusedDevice
	default:
		return ""
	}
}

// Disabled reports whether the service calls the refused device disabled, and
// not unknown: then it works again once it is enabled in the dashboard, or the
// missing licence is bought.
func (e *APIError) Disabled() bool {
	disabled := func(t string) bool { return strings.Contains(strings.ToLower(t), "disabled") }
	return e.Refused() == RefusedDevice &&
		(slices.ContainsFunc(e.Errors, disabled) || slices.ContainsFunc(slices.Concat(e.Fields["device"], e.Fields["device_id"]), disabled))
}

func (e *APIError) blamesSession() bool {
	return e.names("secret") || e.names("device") || e.names("device_id") || e.names("user")
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

// odd reports whether an acknowledgement failed although the service is up, as an
// answer in its own form shows. Then only acknowledgements wait: messages must not.
func (e *APIError) odd() bool {
	return e.Op == opAcknowledge && e.trouble == "" && e.HTTPStatus < 500 && errors.Is(e, ErrUnavailable)
}
