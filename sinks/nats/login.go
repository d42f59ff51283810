package nats

import (
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func (b *Bus) tlsOptions() ([]nats.Option, error) {
	c, all := b.cfg, []nats.Option(nil)
	for _, o := range []struct {
		variable string
		set      bool
		option   nats.Option
	}{
		{"NATS_CA_FILE", c.CAFile != "", nats.RootCAs(c.CAFile)},
		{"NATS_CERT_FILE, NATS_KEY_FILE", c.CertFile != "", nats.ClientCert(c.CertFile, c.KeyFile)},
	} {
		if !o.set {
			continue
		}
		// The option reads the files at once, and again at every connect.
		if err := o.option(&nats.Options{}); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", o.variable, errUnusable, err)
		}
		all = append(all, o.option)
	}
	return all, nil
}

func (b *Bus) loginOptions(d *dialer) ([]nats.Option, error) {
	c := b.cfg
	token, password, err := c.secrets()
	if err != nil {
		return nil, err
	}
	// The embedded server has read its secrets already and keeps to them.
	reread := func(get func(token, password string) string) string {
		if b.server == nil {
			if t, p, err := c.secrets(); err == nil {
				return get(t, p)
			}
		}
		return get(token, password)
	}
	var delay func(*nats.Conn)
	var login nats.Option
	switch {
	case c.CredsFile != "":
		if err := checkCreds(c.CredsFile); err != nil {
			return nil, err
		}
		login = nats.UserCredentials(c.CredsFile)
	case c.NkeyFile != "":
		public, err := nkeyPublic(c.NkeyFile)
		if err != nil {
			return nil, err
		}
		login = nats.Nkey(public, func(nonce []byte) ([]byte, error) { return nkeySign(c.NkeyFile, nonce) })
		delay = func(nc *nats.Conn) {
			if public, err := nkeyPublic(c.NkeyFile); err == nil {
				nc.Opts.Nkey = public
			}
		}
	case c.hasToken():
		login = nats.TokenHandler(func() string { return reread(func(t, _ string) string { return t }) })
	case c.User != "":
		login = nats.UserInfoHandler(func() (string, string) {
			return c.User, reread(func(_, p string) string { return p })
		})
	}
	options := []nats.Option{b.reconnectDelay(d, delay)}
	if login != nil {
		options = append(options, login)
	}
	return options, nil
}

func checkCreds(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("NATS_CREDS_FILE: %w: %w", errUnusable, err)
	}
	if token, err := nkeys.ParseDecoratedJWT(content); err != nil || token == "" {
		return fmt.Errorf("NATS_CREDS_FILE: %w: no user JWT in %s", errUnusable, path)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(content)
	if err != nil {
		return fmt.Errorf("NATS_CREDS_FILE: %w: no user seed in %s", errUnusable, path)
	}
	pair.Wipe()
	return nil
}

func nkeyPair(path string) (nkeys.KeyPair, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("NATS_NKEY_FILE: %w: %w", errUnusable, err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(content)
	if err != nil {
		return nil, fmt.Errorf("NATS_NKEY_FILE: %w: no user seed in %s", errUnusable, path)
	}
	return pair, nil
}

func nkeyPublic(path string) (string, error) {
	pair, err := nkeyPair(path)
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func nkeySign(path string, nonce []byte) ([]byte, error) {
	pair, err := nkeyPair(path)
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	return pair.Sign(nonce)
}
