package connector

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// A Part is one of the things that must work for an alarm to become an event.
// The set is closed: metrics, alerts and scripts are written against these names.
type Part string

// The parts. PartCommands exists only on a bus that takes commands, PartStore
// only with the embedded server.
const (
	PartSession  Part = "session"  // login and push stream
	PartDownload Part = "download" // reading the queue on Pushover's server
	PartBus      Part = "bus"      // the connection to the bus, and its streams or topics
	PartPublish  Part = "publish"  // writing events
	PartClear    Part = "clear"    // deleting confirmed messages on Pushover's server
	PartCommands Part = "commands" // taking commands, carrying them out, publishing results
	PartStore    Part = "store"    // the disk of the embedded server
)

// Parts lists all parts in the order in which an alarm meets them.
func Parts() []Part {
	return []Part{PartSession, PartDownload, PartBus, PartPublish, PartClear, PartCommands, PartStore}
}

// A Reason is the class of a failure. The set is closed: scripts and alert texts
// may branch on it. The particulars are in [Failure.Detail].
type Reason string

// The reasons.
const (
	ReasonStarting     Reason = "starting"     // nothing has failed yet, nothing has succeeded either
	ReasonReconnecting Reason = "reconnecting" // Pushover asked for a new connection of the stream
	ReasonNetwork      Reason = "network"      // no connection: refused, reset, no route
	ReasonDNS          Reason = "dns"          // the host name cannot be resolved
	ReasonTLS          Reason = "tls"          // the handshake failed, or the certificate is not trusted
	ReasonTimeout      Reason = "timeout"      // no answer in time, or a silent stream
	ReasonMalformed    Reason = "malformed_answer"
	ReasonServerError  Reason = "server_error" // Pushover answers 5xx, or refuses a request that it should take
	ReasonRateLimited  Reason = "rate_limited" // Pushover answers 429

	ReasonNoCredentials Reason = "no_credentials"
	ReasonRefusedLogin  Reason = "refused_login"  // e-mail, password, code or device name
	ReasonRefusedSecret Reason = "refused_secret" // the session secret
	ReasonRefusedDevice Reason = "refused_device" // the device was removed
	ReasonDisabled      Reason = "disabled"       // the device was disabled
	ReasonUnlicensed    Reason = "unlicensed"     // the trial is over
	ReasonTakenOver     Reason = "taken_over"     // another program logged in as this device
	ReasonFenced        Reason = "fenced"         // another connector writes to the log

	ReasonBusUnreachable   Reason = "bus_unreachable"
	ReasonBusAuth          Reason = "bus_auth"          // login or certificate refused, permission missing
	ReasonBusRefused       Reason = "bus_refused"       // the bus answers with an error
	ReasonBusFull          Reason = "bus_full"          // a limit of the stream, topic or account is reached
	ReasonBusMisconfigured Reason = "bus_misconfigured" // stream, topic or consumer missing or unusable
	ReasonDiskFull         Reason = "disk_full"         // of the embedded server

	ReasonUnexpected Reason = "unexpected"
)

// Reasons lists all reasons.
func Reasons() []Reason {
	return []Reason{
		ReasonStarting, ReasonReconnecting, ReasonNetwork, ReasonDNS, ReasonTLS, ReasonTimeout, ReasonMalformed,
		ReasonServerError, ReasonRateLimited, ReasonNoCredentials, ReasonRefusedLogin, ReasonRefusedSecret,
		ReasonRefusedDevice, ReasonDisabled, ReasonUnlicensed, ReasonTakenOver, ReasonFenced, ReasonBusUnreachable,
		ReasonBusAuth, ReasonBusRefused, ReasonBusFull, ReasonBusMisconfigured, ReasonDiskFull, ReasonUnexpected,
	}
}

// A Failure is an error that knows its class and what mends it. A sink wraps its
// errors in one where it knows more than the error itself tells.
type Failure struct {
	Reason Reason
	Detail string // one sentence for a person; empty means the text of Err
	Remedy string // the one thing that mends this cause, with the command or file by name; may be empty
	Err    error  // may be nil
}

// Error returns the detail, and the remedy if there is one.
func (f *Failure) Error() string {
	text := f.Detail
	if text == "" && f.Err != nil {
		text = f.Err.Error()
	}
	if f.Remedy != "" {
		text += "; " + f.Remedy
	}
	return text
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failureOf classifies an error. What has been classified already keeps its
// class; the detail is the whole text, which names what was attempted.
func failureOf(err error) Failure {
	var known *Failure
	if errors.As(err, &known) {
		f := *known
		if f.Detail == "" && f.Err != nil {
			f.Detail = f.Err.Error()
		}
		return f
	}
	f := Failure{Reason: reasonOf(err), Detail: err.Error(), Err: err}
	if answer := (*pushover.APIError)(nil); errors.As(err, &answer) {
		f.Detail = detailOf(answer, f.Reason)
	}
	if errors.Is(err, pushover.ErrUnavailable) {
		switch f.Reason {
		case ReasonTLS:
			f.Remedy = "bypass the proxy that intercepts TLS, or trust its certificate authority (PUSHOVER_CA_FILE)"
		case ReasonDNS:
			f.Remedy = "check the name resolution (DNS) of this machine"
		}
	}
	return f
}

// operations are the words for what [pushover.APIError].Op names.
var operations = map[string]string{
	"login": "login", "register": "registration", "messages": "download", "delete": "deletion",
	"acknowledge": "acknowledgement", "stream": "push stream",
}

// detailOf says in a sentence what Pushover answered.
func detailOf(e *pushover.APIError, r Reason) string {
	text := "Pushover answers the " + cmp.Or(operations[e.Op], "request") + " with " + strconv.Itoa(e.HTTPStatus)
	if status := http.StatusText(e.HTTPStatus); status != "" {
		text += " " + status
	}
	switch {
	case len(e.Errors) > 0:
		text += ": " + strings.Join(e.Errors, "; ")
	case r == ReasonMalformed:
		text += ", but not in its own form; a proxy or a captive portal may be in between"
	}
	return text
}

func reasonOf(err error) Reason {
	var answer *pushover.APIError
	var dns *net.DNSError
	switch {
	case errors.Is(err, ErrFenced):
		return ReasonFenced
	case errors.Is(err, pushover.ErrTakenOver):
		return ReasonTakenOver
	case errors.Is(err, pushover.ErrRateLimited):
		return ReasonRateLimited
	case errors.As(err, &answer):
		return reasonOfAnswer(answer)
	case errors.As(err, &dns):
		return ReasonDNS
	case isTLS(err):
		return ReasonTLS
	case errors.Is(err, pushover.ErrSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, syscall.ENOSPC):
		return ReasonDiskFull
	case errors.Is(err, pushover.ErrUnavailable), isNetwork(err):
		return ReasonNetwork
	default:
		return ReasonUnexpected
	}
}

func reasonOfAnswer(e *pushover.APIError) Reason {
	switch {
	case e.Disabled():
		return ReasonDisabled
	case e.Refused() == pushover.RefusedDevice:
		return ReasonRefusedDevice
	case errors.Is(e, pushover.ErrSessionRejected):
		return ReasonRefusedSecret
	case e.HTTPStatus >= 500, len(e.Errors) > 0:
		return ReasonServerError
	case errors.Is(e, pushover.ErrUnavailable):
		return ReasonMalformed
	default:
		return ReasonServerError
	}
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &unknown) || errors.As(err, &host)
}

func isNetwork(err error) bool {
	var op net.Error
	var closed *pushover.CloseError
	return errors.As(err, &op) || errors.As(err, &closed)
}
