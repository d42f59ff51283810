package pushovertest

import (
	"cmp"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options describe a service. The zero value is a complete one: an account
// without second factor, a licence, pages of a thousand messages.
type Options struct {
	// Email, Password, UserKey and AppToken belong to the first account. Made
	// up when empty; [Server.Account] tells them.
	Email, Password, UserKey, AppToken string
	// TwoFactor gives the first account a TOTP second factor.
	TwoFactor bool
	// PageSize is the most messages one download brings. 0 means 1000, -1 no limit.
	PageSize int
	// KeepAlive is the time between two '#' on a stream. 0 means 30 s.
	KeepAlive time.Duration
	// Retention is how long a message waits in a queue. 0 means 21 days.
	Retention time.Duration
	// Licensed says whether the first account has a desktop licence. Nil means yes.
	Licensed *bool
	// Trial is how long an account without licence may use its devices,
	// counted from its first registration. 0 means 30 days, negative none. A
	// connected stream hears of the end, by 'E', when its next '#' is due.
	Trial time.Duration
	// MaxDevices is the most devices of one account. 0 means 50.
	MaxDevices int
	// MonthlyLimit is the number of messages the applications of one account may
	// send together through the sending side. 0 means 10 000. Send, SendN and
	// /sim/messages do not count.
	MonthlyLimit int
	// StrictDeviceID refuses a device id under the names "device" and "deviceId",
	// as some clients send it. Whether the real service does is unknown.
	StrictDeviceID bool
	// Logger gets one line per event. It never gets secrets or message
	// texts. Nil discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Email = cmp.Or(o.Email, "me@example.org")
	o.Password = cmp.Or(o.Password, "correct horse "+randomText(6))
	o.UserKey = cmp.Or(o.UserKey, "u"+randomText(29))
	o.AppToken = cmp.Or(o.AppToken, "a"+randomText(29))
	o.PageSize = cmp.Or(o.PageSize, 1000)
	o.KeepAlive = cmp.Or(o.KeepAlive, 30*time.Second)
	o.Retention = cmp.Or(o.Retention, 21*24*time.Hour)
	o.Trial = cmp.Or(o.Trial, 30*24*time.Hour)
	o.MaxDevices = cmp.Or(o.MaxDevices, 50)
	o.MonthlyLimit = cmp.Or(o.MonthlyLimit, 10_000)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o
}

// A Server is the simulated service. All its methods may be called at any
// time by any goroutine.
type Server struct {
	opts Options
	log  *slog.Logger

	// done is closed by Close. Everything that waits waits for it too.
	done      chan struct{}
	closeOnce sync.Once
	serving   sync.WaitGroup // accept loops
	working   sync.WaitGroup // connections, streams, callbacks

	// mu guards all that follows. It is held for short computations only,
	// never across I/O or a wait.
	mu       sync.Mutex
	closed   bool
	changed  chan struct{} // closed at the next change of state; nil while nobody waits
	rng      *rand.Rand
	ids      idClock
	umids    idClock
	smallIDs sequence

	accounts []*account
	groups   map[string][]*account // by group key
	sessions map[string]*session   // by secret
	devices  map[string]*device    // by device id
	apps     map[string]*application
	icons    map[string]bool
	sounds   []sound // uploaded
	receipts map[string]*receipt
	order    []*receipt // receipts, oldest first

	requests map[Operation]int
	faults   []*fault
	streams  map[*stream]struct{}
	manners  manners

	silent      bool // no keep-alives
	looseIDs    bool
	quietHours  bool
	quietUntil  time.Time
	arrangement Order
	omitStrings bool
	scratch     []byte // for encode
	errorShape  ErrorShape
	retryMode   RetryMode

	plain, secure string // where the service can be reached; "" if it cannot
	pipes         *pipeNet
	authority     *authority
	caFile        string
	http          []*http.Server
	listeners     []net.Listener
}

// New makes a service with one account and no device. It does no I/O and
// starts nothing: serve it with [Server.Start], [Server.StartOn] or
// [Server.StartPipe], or mount its [Server.Handler].
//
// Inside a testing/synctest bubble, call New inside the bubble.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		opts:     o,
		log:      o.Logger,
		done:     make(chan struct{}),
		rng:      rand.New(rand.NewPCG(0x70757368, 0x6f766572)), //nolint:gosec // repeatable on purpose
		groups:   map[string][]*account{},
		sessions: map[string]*session{},
		devices:  map[string]*device{},
		apps:     map[string]*application{},
		icons:    map[string]bool{"pushover": true, "default": true},
		receipts: map[string]*receipt{},
		requests: map[Operation]int{},
		streams:  map[*stream]struct{}{},
	}
	s.manners = newManners(s)
	s.smallIDs.next = 1
	licensed := o.Licensed == nil || *o.Licensed
	s.addAccount(o.Email, o.Password, o.UserKey, o.AppToken, o.TwoFactor, licensed)
	return s
}

// Close ends the service: it closes every connection and waits until all
// goroutines of the server have ended. It may be called more than once.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		close(s.done)
		servers, listeners := s.http, s.listeners
		for st := range s.streams {
			st.abort()
		}
		for _, r := range s.receipts {
			r.stop()
		}
		s.manners.stop()
		s.mu.Unlock()
		for _, l := range listeners {
			_ = l.Close() // closed a second time by its http.Server
		}
		for _, h := range servers {
			_ = h.Close() // reports only that a listener was closed already
		}
	})
	s.serving.Wait()
	s.working.Wait()
}
