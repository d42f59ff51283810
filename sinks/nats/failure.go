package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// refused reports whether the server was there and refused us, or we refused it:
// an attempt with the same files and passwords ends the same.
func refused(err error) bool {
	return authRefused(err) || tlsRefused(err) || errors.Is(err, errUnusable)
}

func authRefused(err error) bool {
	for _, target := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func tlsRefused(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return remoteAlert(err) || errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) ||
		errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, nats.ErrSecureConnRequired)
}

// remoteAlert reports whether the server broke off the TLS handshake.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// unreachable reports whether a connection failed because nothing listens there.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// errUnusable says that a file named by a variable cannot be used.
var errUnusable = errors.New("cannot be used")

// connectFailure says why a connection cannot be made, and names the variable to
// look at.
func (b *Bus) connectFailure(err error) *connector.Failure {
	c := b.cfg
	if c.URL == "" && b.server == nil && unreachable(err) {
		return c.notRunning(err)
	}
	f := &connector.Failure{Err: err}
	what := ""
	var host x509.HostnameError
	var dns *net.DNSError
	switch {
	case authRefused(err):
		f.Reason, what, f.Remedy = connector.ReasonBusAuth, "the server refused the login", c.loginRemedy()
	case errors.Is(err, errUnusable):
		f.Reason, f.Remedy = connector.ReasonBusAuth, "correct the file that this variable names"
	case remoteAlert(err):
		f.Reason, what, f.Remedy = connector.ReasonTLS, "the server broke off TLS", "check NATS_CERT_FILE and NATS_KEY_FILE"
	case errors.As(err, &host):
		f.Reason, what, f.Remedy = connector.ReasonTLS, "the server's certificate is for another host", "check NATS_URL"
	case errors.Is(err, nats.ErrSecureConnWanted):
		f.Reason, what, f.Remedy = connector.ReasonTLS, "the server does not support TLS", "check NATS_URL and NATS_CA_FILE"
	case errors.Is(err, nats.ErrSecureConnRequired):
		f.Reason, what, f.Remedy = connector.ReasonTLS, "the server requires TLS", "write tls:// in NATS_URL"
	case tlsRefused(err):
		f.Reason, what, f.Remedy = connector.ReasonTLS, "the server's certificate is not trusted", "check NATS_CA_FILE"
	case errors.As(err, &dns):
		f.Reason, f.Remedy = connector.ReasonDNS, "check the host name in NATS_URL"
	case timedOut(err):
		f.Reason, what, f.Remedy = connector.ReasonTimeout, "the server does not answer", "check the server at NATS_URL"
	default:
		f.Reason, f.Remedy = connector.ReasonBusUnreachable, c.serverRemedy()
	}
	if what != "" {
		what += ": "
	}
	f.Detail = fmt.Sprintf("connect to %s: %s%s", c.address(), what, err)
	return f
}

// serverRemedy is for a server that is gone. The embedded one is ours to mend.
func (c Config) serverRemedy() string {
	if c.URL == "" {
		return ""
	}
	return "check NATS_URL, and that the server runs"
}

func (c Config) loginRemedy() string {
	switch {
	case c.CredsFile != "":
		return "check NATS_CREDS_FILE"
	case c.NkeyFile != "":
		return "check NATS_NKEY_FILE"
	case c.hasToken():
		return "check NATS_TOKEN"
	case c.User != "":
		return "check NATS_USER and NATS_PASSWORD"
	}
	return "set NATS_CREDS_FILE, NATS_NKEY_FILE, NATS_TOKEN, or NATS_USER and NATS_PASSWORD"
}

// notRunning says that there is no connector with an embedded server.
func (c Config) notRunning(err error) *connector.Failure {
	return &connector.Failure{
		Reason: connector.ReasonBusUnreachable, Err: err,
		Detail: fmt.Sprintf("no connector is running here: nothing listens on NATS_LISTEN (%s)", c.Listen),
		Remedy: "start the connector, or set NATS_URL if it uses a server of its own",
	}
}

func misconfigured(err error, remedy, format string, args ...any) error {
	return &connector.Failure{
		Reason: connector.ReasonBusMisconfigured, Detail: fmt.Sprintf(format, args...), Remedy: remedy, Err: err,
	}
}

func timedOut(err error) bool {
	var op net.Error
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, jetstream.ErrNoHeartbeat) || errors.As(err, &op) && op.Timeout()
}

// Error codes of the server (server/errors.json of nats-server 2.15.2).
const (
	codeAccountLimit        jetstream.ErrorCode = 10002
	codeClusterNotAvailable jetstream.ErrorCode = 10008
	codeNoResources         jetstream.ErrorCode = 10023
	codeNoMemory            jetstream.ErrorCode = 10028
	codeNoStorage           jetstream.ErrorCode = 10047
	codeNoPeers             jetstream.ErrorCode = 10005
	codeReplicasUnsupported jetstream.ErrorCode = 10074
	codeMaxBytesRequired    jetstream.ErrorCode = 10113
	codeMessageTooLarge     jetstream.ErrorCode = 10054
	codeWrongLastMsgID      jetstream.ErrorCode = 10070
	codeStoreFailed         jetstream.ErrorCode = 10077
	codeHeaderTooLarge      jetstream.ErrorCode = 10097
	codeDuplicateStaging    jetstream.ErrorCode = 10158
)

// classify gives an error of the server its class, unless it has one. What is not
// the bus's fault stays as it is.
func (b *Bus) classify(err error) error {
	var known *connector.Failure
	var api *jetstream.APIError
	if err == nil || errors.As(err, &known) || errors.Is(err, connector.ErrRejected) || errors.Is(err, context.Canceled) {
		return err
	}
	if f := b.server.trouble(); f != nil {
		return &connector.Failure{Reason: f.Reason, Detail: f.Detail, Remedy: f.Remedy, Err: err}
	}
	f := &connector.Failure{Detail: err.Error(), Err: err}
	switch {
	case timedOut(err):
		f.Reason = connector.ReasonTimeout
	case errors.Is(err, errNotConnected), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected):
		f.Reason = connector.ReasonBusUnreachable
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrNoStreamResponse):
		f.Reason = connector.ReasonBusMisconfigured
	case errors.Is(err, nats.ErrNoResponders):
		f.Reason = connector.ReasonBusUnreachable
	case errors.As(err, &api):
		f.Reason, f.Remedy = b.classOf(api)
		if api.ErrorCode == codeNoResources && b.server != nil {
			b.server.fail(connector.ReasonDiskFull, "the limit of its store is reached")
			return b.classify(err)
		}
	default:
		return err
	}
	return f
}

func fullRemedy(stream string) string {
	return "raise the limits of the stream or delete old messages: nats stream edit " + stream
}

func (b *Bus) classOf(api *jetstream.APIError) (connector.Reason, string) {
	switch api.ErrorCode {
	case codeAccountLimit, codeNoResources, codeNoMemory, codeNoStorage:
		return connector.ReasonBusFull, "raise the limits of the account or of the server, or delete old messages: nats account info"
	case codeStoreFailed:
		if strings.Contains(api.Description, "exceeded") {
			return connector.ReasonBusFull, fullRemedy(b.cfg.Stream)
		}
	case codeClusterNotAvailable:
		return connector.ReasonBusUnreachable, ""
	}
	return connector.ReasonBusRefused, ""
}
