package connector_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// A world is a model of what the connector talks to: the service with its queue and
// receipts, the bus with its log and commands, and the processes in between, which
// are real. Every call of a process waits until the explorer answers it.
type world struct {
	cfg  worldConfig
	mu   sync.Mutex
	bell chan struct{} // capacity 1: something has happened

	sent      []*sentMessage // all that were ever sent
	queue     []*sentMessage // of the service, ascending
	acked     map[string]bool
	gone      map[string]bool // receipts that the service refuses
	log       []stored        // of the bus
	known     map[string]bool // keys that the bus takes for a repeat
	refused   map[string]bool // ids of messages that the bus refuses for good
	commands  []*sentCommand
	processes []*process
	pending   []*pendingCall // oldest first
	purged    bool
	twinned   bool

	began time.Time
	story []string
	wrong string // the first invariant found broken
}

// A worldConfig is what all schedules of one exploration have in common.
type worldConfig struct {
	name    string
	delay   time.Duration // CLEAR_DELAY
	fencing bool          // a new process fences those before it, as on Kafka
	noDate  bool          // the service does not tell its time
}

type sentMessage struct {
	name, receipt string
	id            pushover.MessageID
	first         *sentMessage // of the same emergency
	stored        bool         // at some time, as an event or a dead letter
	copies        int          // how often
	removed       bool         // from the log, by its owner
}

// idsBegin is what the seconds in the upper half of an id count from.
var idsBegin = time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)

func (m *sentMessage) queued() time.Time { return idsBegin.Add(time.Duration(m.id>>32) * time.Second) }

type sentCommand struct {
	place, receipt string
	at             time.Time
	to             *process          // who has it in hand
	due            time.Time         // of the next delivery, while nobody has
	in             map[*process]bool // who is at it, also those that the bus has forgotten
	settled        bool
}

type stored struct {
	connector.Event
	at time.Time
}

// A process is one run of the program. It knows what the bus and the service told
// it, which is all that it may act upon.
type process struct {
	*connector.Connector
	w      *world
	name   string
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	dead   bool // killed: nothing that it does has an effect any more
	over   bool // replaced

	recalled  []string              // ids of the messages in the log at its start
	shown     []*sentMessage        // by the latest download
	seen      map[*sentMessage]bool // in any download
	confirmed map[string]bool       // ids
	verified  map[string]bool       // ids, by the latest reading back
	missing   map[string]int        // ids, how often reading back stopped there after a confirmation
	decided   map[string]string     // results by command, as first published
	fenced    int                   // refusals of messages
}

// A pendingCall is one that a process waits for.
type pendingCall struct {
	p      *process
	op     string // download, delete, ack, publish or holds
	what   string
	events []connector.Event
	id     pushover.MessageID
	queue  []*sentMessage // what a download shows: the queue when it arrived
	rcpt   string
	at     time.Time
	answer chan reply
}

type reply struct {
	n      int // confirmed or held
	err    error
	status int // of HTTP; 0 cuts the connection
	body   any
}

var errGone = errors.New("connection lost")

// ask makes a call wait for the explorer.
func (w *world) ask(ctx context.Context, c *pendingCall) reply {
	c.answer, c.at = make(chan reply, 1), time.Now()
	w.mu.Lock()
	if c.p.dead {
		w.mu.Unlock()
		return reply{err: errGone}
	}
	c.queue = slices.Clone(w.queue)
	w.pending = append(w.pending, c)
	w.mu.Unlock()
	w.ring()
	select {
	case r := <-c.answer:
		return r
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		w.drop(c)
		return reply{err: ctx.Err()}
	}
}

func (w *world) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

func (w *world) drop(c *pendingCall) {
	w.pending = slices.DeleteFunc(w.pending, func(o *pendingCall) bool { return o == c })
}

// finish answers a call.
func (w *world) finish(c *pendingCall, r reply) {
	w.drop(c)
	c.answer <- r
}

func (w *world) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
		w.tell("VIOLATION: %s", w.wrong)
	}
}

func (w *world) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%9s  ", time.Since(w.began).Round(10*time.Millisecond))+fmt.Sprintf(format, args...))
}

// Publish, Holds and Read make a process a sink: what it says goes to the model.
func (p *process) Publish(ctx context.Context, events []connector.Event) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := p.w.ask(ctx, &pendingCall{p: p, op: "publish", events: slices.Clone(events), what: p.w.names(events)})
	return r.n, r.err
}

func (p *process) Holds(ctx context.Context, events []connector.Event) (int, error) {
	r := p.w.ask(ctx, &pendingCall{p: p, op: "holds", events: slices.Clone(events), what: p.w.names(events)})
	return r.n, r.err
}

func (p *process) Read(_ context.Context, q connector.Query, f func(connector.Stored) error) error {
	p.w.mu.Lock()
	log := slices.Clone(p.w.log)
	p.w.mu.Unlock()
	for _, s := range log {
		if slices.Contains(q.Classes, s.Class) {
			if err := f(connector.Stored{Event: s.Event, At: s.at}); err != nil {
				return err
			}
		}
	}
	return nil
}

// start starts a process with an empty memory.
func (w *world) start() *process {
	p := &process{
		w: w, name: string(rune('A' + len(w.processes))), done: make(chan struct{}),
		seen: map[*sentMessage]bool{}, confirmed: map[string]bool{}, verified: map[string]bool{},
		missing: map[string]int{}, decided: map[string]string{},
	}
	for _, s := range w.log {
		if s.Class == connector.ClassMessage {
			p.recalled = append(p.recalled, s.ID)
		}
	}
	client, err := pushover.New(pushover.Options{
		APIURL: "http://127.0.0.1:1", StreamURL: "ws://127.0.0.1:2/push", DialContext: p.dial, Timeout: 10 * time.Second,
		Credentials: pushover.Credentials{Secret: "secret", DeviceID: "device", DeviceName: "nas-1"},
	})
	if err != nil {
		panic(err)
	}
	p.Connector = connector.New(client, connector.Options{ClearDelay: w.cfg.delay, PublishTimeout: 10 * time.Second})
	if err := p.SetSink(p); err != nil {
		panic(err)
	}
	w.processes = append(w.processes, p)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go func() {
		_ = p.Run(p.ctx) // always nil
		client.Close()
		close(p.done)
		w.ring()
	}()
	p.Sync() // the push stream is not part of the model: whoever sends, wakes
	return p
}

// dial connects to the service. There is no push stream.
func (p *process) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	if strings.HasSuffix(addr, ":2") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	go p.serve(theirs)
	return ours, nil
}

// serve is the service's end of a connection.
func (p *process) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		form, _ := strings.CutPrefix(string(body[max(0, strings.LastIndex(string(body), "message=")):]), "message=")
		c := &pendingCall{p: p, op: "download"}
		switch parts := strings.Split(req.URL.Path, "/"); parts[2] {
		case "receipts":
			c.op, c.rcpt, c.what = "ack", parts[3], parts[3][:6]
		case "devices":
			id, _ := strconv.ParseInt(form, 10, 64)
			c.op, c.id = "delete", pushover.MessageID(id)
			p.w.mu.Lock()
			c.what = "through " + p.w.name(c.id.String())
			p.w.mu.Unlock()
		}
		r := p.w.ask(context.Background(), c)
		if r.status == 0 {
			return
		}
		out, _ := json.Marshal(r.body)
		resp := http.Response{
			StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(out)),
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(out))),
		}
		if !p.w.cfg.noDate {
			resp.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		}
		if resp.Write(conn) != nil {
			return
		}
	}
}

// send queues a message for the device: with a lower id than the latest if low, as
// another one of an emergency if first is not nil.
func (w *world) send(emergency, low bool, first *sentMessage) {
	m := &sentMessage{name: fmt.Sprintf("m%d", len(w.sent)+1), first: first}
	second := int64(time.Since(idsBegin) / time.Second)
	m.id = pushover.MessageID(second<<32 + 1<<20 + int64(len(w.sent))*1000)
	if low {
		m.id = w.lowID()
	}
	if emergency {
		m.receipt = "rcpt" + strconv.Itoa(len(w.sent)+10) + strings.Repeat("x", 24)
	}
	if first != nil {
		m.receipt = first.receipt
	}
	w.sent, w.queue = append(w.sent, m), append(w.queue, m)
	slices.SortFunc(w.queue, func(a, b *sentMessage) int { return int(a.id - b.id) })
	for _, p := range w.alive() {
		p.Sync()
	}
}

// lowID is below that of the latest message, or 0 if none can turn up there any
// more: ids order time to the second, and a queue may show a message two seconds late.
func (w *world) lowID() pushover.MessageID {
	if len(w.sent) == 0 {
		return 0
	}
	id := w.sent[len(w.sent)-1].id - 1
	if time.Since(w.sent[len(w.sent)-1].queued()) >= 3*time.Second {
		return 0
	}
	return id
}

func (w *world) alive() []*process {
	var alive []*process
	for _, p := range w.processes {
		if !p.dead && !p.over {
			alive = append(alive, p)
		}
	}
	return alive
}

func (w *world) has(key string) bool {
	return slices.ContainsFunc(w.log, func(s stored) bool { return s.DedupKey() == key })
}

func (w *world) message(id string) *sentMessage {
	for _, m := range w.sent {
		if m.id.String() == id {
			return m
		}
	}
	return nil
}

func (w *world) name(id string) string {
	if m := w.message(id); m != nil {
		return m.name
	}
	return id
}

func (w *world) names(events []connector.Event) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, e := range events {
		name := w.name(e.ID)
		if e.Class != connector.ClassMessage {
			name = e.Class.String() + " of " + name
		}
		if e.Lost {
			name += " (lost)"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// put is what the bus does with n events of a call: it adds what it does not know.
func (w *world) put(p *process, events []connector.Event) {
	for _, e := range events {
		key := e.DedupKey()
		if w.known[key] && (!e.Lost || w.has(key)) {
			continue
		}
		w.known[key] = true
		w.checkStored(p, e)
		w.log = append(w.log, stored{e, time.Now()})
		if m := w.message(e.ID); m != nil {
			m.stored, m.removed = true, false
			m.copies++
		}
	}
}

// kill takes a process away with all that it knows.
func (w *world) kill(p *process) {
	p.dead = true
	p.cancel()
	for _, c := range slices.Clone(w.pending) {
		if c.p == p {
			w.finish(c, reply{err: errGone})
		}
	}
	w.release(p)
}

// release gives the commands that a process had in hand back to the bus.
func (w *world) release(p *process) {
	for _, k := range w.commands {
		if k.to == p {
			k.to, k.due = nil, time.Now()
		}
	}
}

// command puts a command on the bus.
func (w *world) command(receipt string) {
	w.commands = append(w.commands, &sentCommand{
		place: fmt.Sprintf("control#%d", len(w.commands)+1), receipt: receipt, at: time.Now(), due: time.Now(),
		in: map[*process]bool{},
	})
}

// deliver hands the commands that are due to the newest process.
func (w *world) deliver() {
	alive := w.alive()
	for _, k := range w.commands {
		if k.settled || k.to != nil || k.in[alive[len(alive)-1]] || k.due.After(time.Now()) {
			continue
		}
		w.hand(k, alive[len(alive)-1])
	}
}

func (w *world) hand(k *sentCommand, p *process) {
	k.to, k.in[p] = p, true
	go func() {
		_, err := p.HandleCommand(p.ctx, connector.Command{ID: k.place, Body: []byte(k.receipt), Time: k.at})
		w.mu.Lock()
		defer w.ring()
		defer w.mu.Unlock()
		delete(k.in, p)
		var again *connector.RetryError
		switch {
		case p.dead:
		case err == nil:
			w.checkSettled(k)
			k.settled = true
		case k.to == p:
			k.to, k.due = nil, time.Now()
			if errors.As(err, &again) {
				k.due = time.Now().Add(again.After)
			}
			time.AfterFunc(time.Until(k.due), w.ring)
		}
	}()
}

// close ends all processes.
func (w *world) close() {
	w.mu.Lock()
	for _, p := range w.processes {
		w.kill(p)
	}
	w.mu.Unlock()
	for _, p := range w.processes {
		<-p.done
	}
	synctest.Wait()
}
