package nats

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"
)

// refused reports whether the server was there and would not have us, or we
// would not have it: an attempt with the same files and passwords ends the same.
func refused(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return authRefused(err) || remoteAlert(err) ||
		errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) ||
		errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, nats.ErrSecureConnRequired) ||
		errors.Is(err, errUnusable)
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

// remoteAlert reports whether the server broke off the TLS handshake.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// errUnusable says that a file named by a variable cannot be used.
var errUnusable = errors.New("cannot be used")

// explain names the variable to look at, and what to do.
func (c Config) explain(err error) error {
	var host x509.HostnameError
	switch {
	case authRefused(err):
		way := "a login is wanted; set NATS_CREDS_FILE, NATS_NKEY_FILE, NATS_TOKEN, or NATS_USER and NATS_PASSWORD"
		switch {
		case c.CredsFile != "":
			way = "check NATS_CREDS_FILE"
		case c.NkeyFile != "":
			way = "check NATS_NKEY_FILE"
		case c.hasToken():
			way = "check NATS_TOKEN"
		case c.User != "":
			way = "check NATS_USER and NATS_PASSWORD"
		}
		return fmt.Errorf("server refused the login: %w; %s", err, way)
	case remoteAlert(err):
		return fmt.Errorf("server broke off TLS: %w; check NATS_CERT_FILE and NATS_KEY_FILE", err)
	case errors.As(err, &host):
		return fmt.Errorf("server's certificate is for another host: %w; check NATS_URL", err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: the server speaks no TLS; check NATS_URL and NATS_CA_FILE", err)
	case errors.Is(err, nats.ErrSecureConnRequired):
		return fmt.Errorf("%w: write tls:// in NATS_URL", err)
	case errors.Is(err, errUnusable):
		return err
	case refused(err):
		return fmt.Errorf("server's certificate is not trusted: %w; check NATS_CA_FILE", err)
	default:
		return fmt.Errorf("NATS_URL: %w", err)
	}
}
