package nats_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// A way is a server that asks for something, and how to give it.
type way struct {
	name   string
	server func(*natsserver.Options)
	scheme string
	right  nats.Config
	wrong  []wrongWay
}

type wrongWay struct {
	name   string
	change func(*nats.Config)
	want   string // in the error: the variable to look at
}

func ways(t *testing.T) []way {
	t.Helper()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte(content))
		return path
	}
	op := newOperator(t)
	creds, otherCreds := file("right.creds", op.user(t)), file("wrong.creds", newOperator(t).user(t))
	public, seed := newNkey(t)
	_, otherSeed := newNkey(t)
	nkey, otherNkey := file("right.nk", seed), file("wrong.nk", otherSeed)
	ca, otherCA := newAuthority(t), newAuthority(t)
	cert, key := ca.issue("client")
	otherCert, otherKey := otherCA.issue("client")
	nothing := func(c *nats.Config) {
		*c = nats.Config{URL: c.URL, CAFile: c.CAFile}
	}
	return []way{
		{
			name:   "token",
			server: func(o *natsserver.Options) { o.Authorization = "tok-right" },
			right:  nats.Config{Token: "tok-right"},
			wrong: []wrongWay{
				{"wrong", func(c *nats.Config) { c.Token = "tok-wrong" }, "NATS_TOKEN"},
				{"none", nothing, "NATS_TOKEN"},
			},
		},
		{
			name:   "token file",
			server: func(o *natsserver.Options) { o.Authorization = "tok-right" },
			right:  nats.Config{TokenFile: file("token", "tok-right\n")},
			wrong:  []wrongWay{{"wrong", func(c *nats.Config) { c.TokenFile = file("token2", "tok-wrong") }, "NATS_TOKEN"}},
		},
		{
			name:   "user and password",
			server: func(o *natsserver.Options) { o.Username, o.Password = "me", "pw-right" },
			right:  nats.Config{User: "me", Password: "pw-right"},
			wrong: []wrongWay{
				{"wrong password", func(c *nats.Config) { c.Password = "pw-wrong" }, "NATS_PASSWORD"},
				{"wrong user", func(c *nats.Config) { c.User = "you" }, "NATS_USER"},
				{"none", nothing, "NATS_USER"},
			},
		},
		{
			name:   "password file",
			server: func(o *natsserver.Options) { o.Username, o.Password = "me", "pw-right" },
			right:  nats.Config{User: "me", PasswordFile: file("password", "pw-right")},
		},
		{
			name:   "nkey",
			server: func(o *natsserver.Options) { o.Nkeys = []*natsserver.NkeyUser{{Nkey: public}} },
			right:  nats.Config{NkeyFile: nkey},
			wrong: []wrongWay{
				{"unknown", func(c *nats.Config) { c.NkeyFile = otherNkey }, "NATS_NKEY_FILE"},
				{"no seed", func(c *nats.Config) { c.NkeyFile = file("empty.nk", "") }, "NATS_NKEY_FILE"},
				{"none", nothing, "NATS_NKEY_FILE"},
			},
		},
		{
			name:   "creds",
			server: op.serve,
			right:  nats.Config{CredsFile: creds},
			wrong: []wrongWay{
				{"of another operator", func(c *nats.Config) { c.CredsFile = otherCreds }, "NATS_CREDS_FILE"},
				{"half written", func(c *nats.Config) { c.CredsFile = file("half.creds", op.user(t)[:120]) }, "NATS_CREDS_FILE"},
				{"no seed", func(c *nats.Config) {
					c.CredsFile = file("noseed.creds", strings.Split(op.user(t), "-----BEGIN USER NKEY")[0])
				}, "NATS_CREDS_FILE"},
				{"none", nothing, "NATS_CREDS_FILE"},
			},
		},
		{
			name:   "TLS",
			scheme: "tls",
			server: func(o *natsserver.Options) { o.TLSConfig = ca.server(nil) },
			right:  nats.Config{CAFile: ca.file},
			wrong: []wrongWay{
				{"wrong authority", func(c *nats.Config) { c.CAFile = otherCA.file }, "NATS_CA_FILE"},
				{"system's authorities", func(c *nats.Config) { c.CAFile = "" }, "NATS_CA_FILE"},
				{"no certificate", func(c *nats.Config) { c.CAFile = file("ca.txt", "nothing") }, "NATS_CA_FILE"},
			},
		},
		{
			name:   "TLS asked for by the server alone",
			scheme: "nats",
			server: func(o *natsserver.Options) { o.TLSConfig = ca.server(nil) },
			right:  nats.Config{CAFile: ca.file},
			wrong:  []wrongWay{{"system's authorities", func(c *nats.Config) { c.CAFile = "" }, "NATS_CA_FILE"}},
		},
		{
			name:   "mutual TLS",
			scheme: "tls",
			server: func(o *natsserver.Options) { o.TLSConfig = ca.server(ca) },
			right:  nats.Config{CAFile: ca.file, CertFile: cert, KeyFile: key},
			wrong: []wrongWay{
				{"no certificate", func(c *nats.Config) { c.CertFile, c.KeyFile = "", "" }, "NATS_CERT_FILE"},
				{"unknown certificate", func(c *nats.Config) { c.CertFile, c.KeyFile = otherCert, otherKey }, "NATS_CERT_FILE"},
				{"key of another", func(c *nats.Config) { c.KeyFile = otherKey }, "NATS_KEY_FILE"},
			},
		},
		{
			name:   "no TLS where it is wanted",
			scheme: "nats",
			right:  nats.Config{},
			wrong:  []wrongWay{{"authority given", func(c *nats.Config) { c.CAFile = ca.file }, "NATS_CA_FILE"}},
		},
	}
}

func TestEveryWayToLogInIsAcceptedAndEveryWrongOneNamesItsVariable(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			srv := startServer(t, func(o *natsserver.Options) {
				if w.server != nil {
					w.server(o)
				}
				if o.TLSConfig != nil {
					o.TLSTimeout = 5
				}
			})
			if w.scheme == "" {
				w.scheme = "nats"
			}
			w.right.URL = w.scheme + "://" + srv.Addr().String()
			b := open(t, w.right, nats.Options{})
			if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 3)); n != 3 || err != nil {
				t.Errorf("Publish: got %d, %v, want 3", n, err)
			}
			for _, wrong := range w.wrong {
				t.Run(wrong.name, func(t *testing.T) {
					before := connections(t, srv)
					c := w.right
					wrong.change(&c)
					book := &logBook{}
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					b, err := nats.Open(ctx, c, nats.Options{Logger: book.logger()})
					if err == nil {
						closeBus(t, b)
						t.Fatal("Open succeeded")
					}
					t.Log(err)
					if !strings.Contains(err.Error(), wrong.want) {
						t.Errorf("Open: %v; want it to name %s", err, wrong.want)
					}
					if errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Open: %v; want the refusal at once", err)
					}
					for _, secret := range []string{"pw-", "tok-", "SUA"} {
						if strings.Contains(err.Error()+book.String(), secret) {
							t.Errorf("a secret leaks: %v\n%s", err, book.String())
						}
					}
					// A server that refuses a certificate may be gone before its
					// reason is read; then it is asked again.
					if n := connections(t, srv) - before; n > 5 {
						t.Errorf("%d attempts, want few", n)
					}
				})
			}
		})
	}
}

func connections(t *testing.T, srv *natsserver.Server) uint64 {
	t.Helper()
	v, err := srv.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.TotalConnections
}

// A rotation happens on one side first: the connection comes back once both
// sides agree, by itself.
func TestRotatedCredentialsAreTakenUp(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	firstPublic, firstSeed := newNkey(t)
	secondPublic, secondSeed := newNkey(t)
	firstOp, secondOp := newOperator(t), newOperator(t)
	firstCA, secondCA := newAuthority(t), newAuthority(t)
	pem := func(a *authority) []byte {
		b, err := os.ReadFile(a.file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name          string
		config        nats.Config
		file          string
		before, after []byte
		first, second func(*natsserver.Options)
	}{
		{
			name: "password", config: nats.Config{User: "me", PasswordFile: path("password")}, file: "password",
			before: []byte("one"), after: []byte("two"),
			first:  func(o *natsserver.Options) { o.Username, o.Password = "me", "one" },
			second: func(o *natsserver.Options) { o.Username, o.Password = "me", "two" },
		},
		{
			name: "token", config: nats.Config{TokenFile: path("token")}, file: "token",
			before: []byte("one"), after: []byte("two"),
			first:  func(o *natsserver.Options) { o.Authorization = "one" },
			second: func(o *natsserver.Options) { o.Authorization = "two" },
		},
		{
			name: "nkey", config: nats.Config{NkeyFile: path("nkey")}, file: "nkey",
			before: []byte(firstSeed), after: []byte(secondSeed),
			first:  func(o *natsserver.Options) { o.Nkeys = []*natsserver.NkeyUser{{Nkey: firstPublic}} },
			second: func(o *natsserver.Options) { o.Nkeys = []*natsserver.NkeyUser{{Nkey: secondPublic}} },
		},
		{
			name: "creds", config: nats.Config{CredsFile: path("creds")}, file: "creds",
			before: []byte(firstOp.user(t)), after: []byte(secondOp.user(t)),
			first: firstOp.serve, second: secondOp.serve,
		},
		{
			name: "authority", config: nats.Config{CAFile: path("ca.pem")}, file: "ca.pem",
			before: pem(firstCA), after: pem(secondCA),
			first:  func(o *natsserver.Options) { o.TLSConfig, o.TLSTimeout = firstCA.server(nil), 5 },
			second: func(o *natsserver.Options) { o.TLSConfig, o.TLSTimeout = secondCA.server(nil), 5 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			writeFile(t, path(c.file), c.before)
			srv := startServer(t, c.first)
			c.config.URL = "nats://" + srv.Addr().String()
			if c.name == "authority" {
				c.config.URL = "tls://" + srv.Addr().String()
			}
			book := &logBook{}
			b := open(t, c.config, nats.Options{Health: book.health()})
			port := srv.Addr().(*net.TCPAddr).Port
			stopServer(srv)
			second := startServer(t, func(o *natsserver.Options) {
				c.second(o)
				o.Port = port
			})
			eventually(t, "the login is refused", func() bool {
				err := b.Connected()
				return err != nil && strings.Contains(err.Error(), "NATS_") && !strings.Contains(err.Error(), "NATS_URL")
			})
			before := connections(t, second)
			writeFile(t, path(c.file), c.after)
			eventually(t, "the connection is back", func() bool { return b.Connected() == nil })
			publishAll(within(t), t, b, sinktest.Messages("a", 1, 3))
			if n := connections(t, second) - before; n > 10 {
				t.Errorf("%d attempts after the rotation, want few", n)
			}
			if n := strings.Count(book.String(), "level=WARN"); n > 6 {
				t.Errorf("%d warnings, want one for each change:\n%s", n, book.String())
			}
			eventually(t, "the recovery is logged", func() bool { return book.count("bus recovered") > 0 })
		})
	}
}

// Without any outage: the old credentials are still good when the new ones come.
func TestReplacedFileIsUsedWithoutWaitingForAnOutage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, []byte("one"))
	srv := startServer(t, func(o *natsserver.Options) { o.Authorization = "one" })
	b := open(t, nats.Config{URL: srv.ClientURL(), TokenFile: file}, nats.Options{})
	before := connections(t, srv)
	writeFile(t, file, []byte("one\n"))
	eventually(t, "a new connection", func() bool { return connections(t, srv) > before && b.Connected() == nil })
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 1)); n != 1 && err == nil {
		t.Errorf("Publish: got %d, %v, want 1", n, err)
	}
}

// An operator signs an account with JetStream, and users of it.
type operator struct {
	jwt              string
	account          nkeys.KeyPair
	resolver         *natsserver.MemAccResolver
	accountID, sysID string
}

func newOperator(t testing.TB) *operator {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pair := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		kp, err := create()
		must(err)
		public, err := kp.PublicKey()
		must(err)
		return kp, public
	}
	op := &operator{resolver: &natsserver.MemAccResolver{}}
	kp, public := pair(nkeys.CreateOperator)
	claims := jwt.NewOperatorClaims(public)
	var sys nkeys.KeyPair
	sys, op.sysID = pair(nkeys.CreateAccount)
	_ = sys
	claims.SystemAccount = op.sysID
	var err error
	op.jwt, err = claims.Encode(kp)
	must(err)
	op.account, op.accountID = pair(nkeys.CreateAccount)
	for _, id := range []string{op.accountID, op.sysID} {
		ac := jwt.NewAccountClaims(id)
		if id == op.accountID {
			ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		token, err := ac.Encode(kp)
		must(err)
		must(op.resolver.Store(id, token))
	}
	return op
}

func (op *operator) serve(o *natsserver.Options) {
	claims, err := jwt.DecodeOperatorClaims(op.jwt)
	if err != nil {
		panic(err)
	}
	o.TrustedOperators = []*jwt.OperatorClaims{claims}
	o.AccountResolver = op.resolver
	o.SystemAccount = op.sysID
}

// user returns the content of a creds file.
func (op *operator) user(t testing.TB) string {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewUserClaims(public).Encode(op.account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func newNkey(t testing.TB) (public, seed string) {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = kp.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return public, string(s)
}
