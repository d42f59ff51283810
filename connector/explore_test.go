package connector_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// The explorer drives the real connector through schedules: which of its calls is
// answered next and how, and what else happens meanwhile. Without a deviation the
// oldest call is answered well, and time passes when there is none. A schedule is
// written as its deviations, "3:lost 9:crash": what happens instead at the steps 3
// and 9. The jitter of retries is not part of it.
var (
	exploreRandom = flag.Int("explore-random", 300, "so many random schedules in each world")
	exploreSeed   = flag.Uint64("explore-seed", 1, "of the random schedules")
	exploreReplay = flag.String("explore-replay", "", "a schedule to run alone, such as 'delay/3:lost 9:crash'")
	exploreDepth  = flag.Int("explore-depth", 2, "two deviations are explored everywhere within so many steps")
)

var worlds = []worldConfig{
	{name: "plain"},
	{name: "fencing", fencing: true, noDate: true},
	{name: "delay", delay: time.Minute},
}

const (
	randomSteps = 60   // of a random schedule, before it is left in peace
	mostSteps   = 1000 // until all must have come to rest
	synced      = 30 * time.Second
)

type schedule map[int]string

func (s schedule) String() string {
	var out []string
	for step := range mostSteps {
		if move, ok := s[step]; ok {
			out = append(out, strconv.Itoa(step)+":"+move)
		}
	}
	return strings.Join(out, " ")
}

func parseSchedule(text string) (schedule, error) {
	s := schedule{}
	for _, f := range strings.Fields(text) {
		step, move, _ := strings.Cut(f, ":")
		n, err := strconv.Atoi(step)
		if err != nil {
			return nil, err
		}
		s[n] = move
	}
	return s, nil
}

// with is the schedule with one deviation more.
func (s schedule) with(step int, move string) schedule {
	t := schedule{step: move}
	for n, m := range s {
		t[n] = m
	}
	return t
}

// A course is how a schedule went.
type course struct {
	schedule schedule
	moves    [][]string // what was possible, by step; the first is no deviation
	states   map[string]bool
	wrong    string
	story    []string
}

// explore runs one schedule. choose may deviate where the schedule does not.
func explore(t *testing.T, cfg worldConfig, s schedule, choose func(step int, moves []string) string) (c course) {
	c.schedule, c.states = schedule{}, map[string]bool{}
	synctest.Test(t, func(*testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))) // ids hold the time
		w := &world{
			cfg: cfg, bell: make(chan struct{}, 1), began: time.Now(),
			acked: map[string]bool{}, gone: map[string]bool{}, known: map[string]bool{}, refused: map[string]bool{},
		}
		defer w.close()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.start()
		script := []string{"emergency", "command", "send"}
		for step := 0; w.wrong == ""; step++ {
			w.settleDown()
			w.checkState()
			c.states[w.state()] = true
			if len(script) == 0 && w.atRest() {
				w.checkEnd()
				break
			}
			if step == mostSteps {
				w.fail("it does not come to rest: %s", w.state())
				break
			}
			moves := w.moves(script)
			c.moves = append(c.moves, moves)
			move := moves[0]
			if planned := s[step]; slices.Contains(moves, planned) {
				move = planned
			} else if choose != nil {
				move = choose(step, moves)
			}
			if move != moves[0] {
				c.schedule[step] = move
			}
			if len(script) > 0 && move == script[0] && move == moves[0] {
				script = script[1:]
			}
			w.step(step, move)
		}
		c.wrong, c.story = w.wrong, w.story
	})
	return c
}

// settleDown lets the processes go on until each of them waits.
func (w *world) settleDown() {
	w.deliver()
	w.mu.Unlock()
	synctest.Wait()
	w.mu.Lock()
	for _, p := range w.processes {
		select {
		case <-p.done:
			if !p.dead && !p.over { // it was told to stop, and has
				p.over = true
				w.release(p)
				w.tell("process %s has stopped, %s starts", p.name, w.start().name)
				w.settleDown()
				return
			}
		default:
		}
	}
}

func (w *world) atRest() bool {
	return len(w.pending) == 0 && len(w.queue) == 0 &&
		!slices.ContainsFunc(w.commands, func(k *sentCommand) bool { return !k.settled }) &&
		!slices.ContainsFunc(w.alive(), func(p *process) bool { return p.ctx.Err() != nil })
}

// faults are what may become of a call, by operation.
var faults = map[string][]string{
	"download": {"cut", "503"},
	"delete":   {"before", "after", "noeffect"},
	"ack":      {"before", "after", "gone"},
	"publish":  {"lost", "silent", "down", "half", "slow", "refuse"},
	"holds":    {"down"},
}

// moves lists what can happen now, first what happens if all goes well.
func (w *world) moves(script []string) []string {
	var moves []string
	switch {
	case len(w.pending) > 0:
		moves = append(append(moves, "ok"), faults[w.pending[0].op]...)
		if w.pending[0].op == "publish" && len(w.pending[0].events) < 2 {
			moves = slices.DeleteFunc(moves, func(m string) bool { return m == "half" || m == "slow" })
		}
		moves = append(moves, "tick", "stall", "crash+")
		if len(w.pending) > 1 {
			moves = append(moves, "other")
		}
	case len(script) > 0:
		moves = append(moves, script[0], "wait")
	default:
		moves = append(moves, "wait")
	}
	possible := func(ok bool, move string) {
		if ok && !slices.Contains(moves, move) {
			moves = append(moves, move)
		}
	}
	alive := w.alive()
	possible(len(w.sent) < 6, "send")
	possible(len(w.sent) < 6 && w.lowID() > 0, "low")
	possible(len(w.sent) < 6 && w.ringing() != nil, "resend")
	possible(len(w.commands) < 3, "command")
	possible(len(w.processes) < 6, "crash")
	possible(len(w.processes) < 6 && alive[0].ctx.Err() == nil, "stop")
	possible(len(w.processes) < 6 && len(alive) == 1, "twin")
	possible(len(w.log) > 0, "purge")
	// Not with a twin: reading back does not tell its younger copy, which a second
	// power cut can take, from that which has waited for the delay.
	possible(len(w.log) > 0 && w.cfg.delay > 0 && !w.twinned, "powercut")
	possible(slices.ContainsFunc(w.commands, w.again), "redeliver")
	return moves
}

// again reports whether a command may be delivered again: its settling was lost, or
// the bus has not heard of who has it in hand.
func (w *world) again(k *sentCommand) bool {
	alive := w.alive()
	newest := alive[len(alive)-1]
	return !k.in[newest] && (k.settled || k.to != nil)
}

// ringing is an emergency that the service may send again.
func (w *world) ringing() *sentMessage {
	for _, m := range w.sent {
		if m.receipt != "" && m.first == nil && !w.acked[m.receipt] {
			return m
		}
	}
	return nil
}

// rings reports whether a receipt is that of an emergency.
func (w *world) rings(receipt string) bool {
	return slices.ContainsFunc(w.sent, func(m *sentMessage) bool { return m.receipt == receipt })
}

// step makes a move.
func (w *world) step(step int, move string) {
	if len(w.pending) > 0 {
		c := w.pending[0]
		if move == "other" {
			c = w.pending[1]
		}
		if move == "ok" || move == "other" || slices.Contains(faults[c.op], move) {
			w.tell("%3d %-8s %s: %s %s", step, move, c.p.name, c.op, c.what)
			w.answer(c, move)
			return
		}
	}
	w.tell("%3d %s", step, move)
	victim := w.alive()[0]
	if len(w.pending) > 0 {
		victim = w.pending[0].p
	}
	switch move {
	case "wait":
		w.pass(5*time.Minute, true)
	case "tick":
		w.pass(1500*time.Millisecond, false)
	case "stall": // beyond all limits of a call
		w.pass(15*time.Second, false)
		for _, c := range slices.Clone(w.pending) {
			if time.Since(c.at) >= 10*time.Second {
				w.finish(c, reply{})
			}
		}
	case "send", "low", "emergency":
		w.send(move == "emergency", move == "low", nil)
	case "resend":
		w.send(false, false, w.ringing())
	case "command":
		receipt := strings.Repeat("u", 30) // which nobody knows
		if m := w.ringing(); m != nil {
			receipt = m.receipt
		}
		w.command(receipt)
	case "crash+":
		for _, c := range slices.Clone(w.pending) {
			if c.p == victim && c.op != "holds" && c.op != "download" {
				w.answer(c, "ok")
			}
		}
		w.kill(victim)
		w.start()
	case "crash":
		w.kill(victim)
		w.start()
	case "stop":
		w.alive()[0].cancel()
	case "twin":
		w.twinned = true
		w.start()
	case "purge":
		w.lose(func(stored) bool { return true }, true)
	case "powercut": // the bus rebuilds what it knows from what it still has
		w.lose(func(s stored) bool { return s.Class != connector.ClassResult && time.Since(s.at) < synced }, false)
		clear(w.known)
		for _, s := range w.log {
			w.known[s.DedupKey()] = true
		}
	case "redeliver":
		alive := w.alive()
		w.hand(w.commands[slices.IndexFunc(w.commands, w.again)], alive[len(alive)-1])
	}
}

// pass lets time pass, if early only until something happens.
func (w *world) pass(d time.Duration, early bool) {
	w.mu.Unlock()
	defer w.mu.Lock()
	if !early {
		time.Sleep(d)
		return
	}
	select {
	case <-w.bell:
	default:
	}
	select {
	case <-w.bell:
	case <-time.After(d):
	}
}

// lose removes events from the log.
func (w *world) lose(which func(stored) bool, byOwner bool) {
	w.purged = w.purged || byOwner
	w.log = slices.DeleteFunc(w.log, func(s stored) bool {
		if !which(s) {
			return false
		}
		if m := w.message(s.ID); m != nil && byOwner {
			m.removed = true
		}
		return true
	})
}

// answer lets a call take effect, or not, and answers it.
func (w *world) answer(c *pendingCall, how string) {
	switch c.op {
	case "publish":
		w.answerPublish(c, how)
	case "holds":
		if how == "down" {
			w.finish(c, reply{err: errBusDown})
			return
		}
		n := slices.IndexFunc(c.events, func(e connector.Event) bool { return !w.has(e.DedupKey()) })
		if n < 0 {
			n = len(c.events)
		}
		c.p.learnHeld(c.events, n)
		w.finish(c, reply{n: n})
	case "download":
		switch how {
		case "cut":
			w.finish(c, reply{})
		case "503":
			w.finish(c, reply{status: 503, body: "down"})
		default:
			w.finish(c, reply{status: 200, body: w.list(c)})
		}
	case "delete":
		if how != "before" && how != "noeffect" {
			w.checkDelete(c.p, int64(c.id))
			w.queue = slices.DeleteFunc(w.queue, func(m *sentMessage) bool { return m.id <= c.id })
		}
		w.finishREST(c, how)
	case "ack":
		switch {
		case how == "gone" || w.gone[c.rcpt] || !w.rings(c.rcpt):
			w.gone[c.rcpt] = true
			w.finish(c, reply{status: 404, body: map[string]any{"status": 0, "request": "r", "receipt": "not found", "errors": []string{"receipt not found"}}})
			return
		case how != "before":
			w.checkAck(c.rcpt)
			w.acked[c.rcpt] = true
		}
		w.finishREST(c, how)
	}
}

func (w *world) finishREST(c *pendingCall, how string) {
	r := reply{status: 200, body: map[string]any{"status": 1, "request": "r"}}
	if how == "before" || how == "after" {
		r = reply{}
	}
	w.finish(c, r)
}

func (w *world) answerPublish(c *pendingCall, how string) {
	w.checkDecided(c)
	n, confirmed, err := len(c.events), len(c.events), error(nil)
	switch how {
	case "lost":
		confirmed, err = 0, errBusDown
	case "silent":
		confirmed = 0
	case "down":
		n, confirmed, err = 0, 0, errBusDown
	case "half":
		n, confirmed, err = n/2+1, n/2, errBusDown
	case "slow":
		n, confirmed, err = n/2, n/2, context.DeadlineExceeded
	case "refuse":
		if last := c.events[n-1]; last.Class == connector.ClassMessage && !w.known[last.DedupKey()] {
			w.refused[last.ID] = true
		}
	}
	if w.cfg.fencing && c.p != w.processes[len(w.processes)-1] {
		n, confirmed, err = 0, 0, connector.ErrFenced
		w.checkFenced(c)
	}
	bad := slices.IndexFunc(c.events[:n], func(e connector.Event) bool {
		return e.Class == connector.ClassMessage && w.refused[e.ID] && !w.known[e.DedupKey()]
	})
	if bad >= 0 {
		n = bad
		if confirmed > n || err == nil && how != "silent" {
			confirmed, err = n, fmt.Errorf("too large: %w", connector.ErrRejected)
		}
	}
	w.put(c.p, c.events[:n])
	if how == "silent" && err == nil {
		w.drop(c) // its time runs out
		return
	}
	c.p.learnConfirmed(c.events[:confirmed])
	w.finish(c, reply{n: confirmed, err: err})
}

// list is the answer to a download.
func (w *world) list(c *pendingCall) any {
	c.p.shown = c.queue
	list := []map[string]any{}
	for _, m := range c.queue {
		c.p.seen[m] = true
		one := map[string]any{
			"id": int64(m.id), "id_str": m.id.String(), "umid": int64(m.id), "umid_str": m.id.String(),
			"app": "app", "aid": 1, "message": m.name, "priority": 0, "acked": 0, "date": m.queued().Unix(), "queued_date": m.queued().Unix(),
		}
		if m.receipt != "" {
			one["priority"], one["receipt"] = 2, m.receipt
		}
		if w.acked[m.receipt] {
			one["acked"] = 1
		}
		list = append(list, one)
	}
	return map[string]any{"status": 1, "request": "r", "messages": list}
}

// TestEverySchedule explores: all schedules with one deviation anywhere, all with two
// within the first steps, and then random ones with many.
func TestEverySchedule(t *testing.T) {
	if *exploreReplay != "" {
		replay(t, *exploreReplay)
		return
	}
	var found atomic.Bool // something wrong: the others need not go on
	for _, cfg := range worlds {
		t.Run(cfg.name, func(t *testing.T) {
			t.Parallel()
			exploreWorld(t, cfg, &found)
		})
	}
}

func exploreWorld(t *testing.T, cfg worldConfig, found *atomic.Bool) {
	t.Helper()
	states, schedules := map[string]bool{}, 0
	run := func(s schedule, choose func(int, []string) string) course {
		if found.Load() {
			t.SkipNow()
		}
		c := explore(t, cfg, s, choose)
		schedules++
		for state := range c.states {
			states[state] = true
		}
		if c.wrong != "" {
			found.Store(true)
			t.Fatalf("%s\nafter %d schedules; -explore-replay='%s/%s'\n%s", c.wrong, schedules, cfg.name, c.schedule, strings.Join(c.story, "\n"))
		}
		return c
	}
	var deviate func(c course, from, until, more int)
	deviate = func(c course, from, until, more int) {
		for step := from; step < min(until, len(c.moves)); step++ {
			for _, move := range c.moves[step][1:] {
				next := run(c.schedule.with(step, move), nil)
				if more > 1 && step < *exploreDepth {
					deviate(next, step+1, *exploreDepth, more-1)
				}
			}
		}
	}
	well := run(nil, nil)
	deviate(well, 0, mostSteps, 2)
	all := schedules
	rng := rand.New(rand.NewPCG(*exploreSeed, 0)) //nolint:gosec // repeatable on purpose
	for range *exploreRandom {
		often := 2 + rng.IntN(8)
		run(nil, func(step int, moves []string) string {
			if step >= randomSteps || rng.IntN(often) > 0 {
				return moves[0]
			}
			return moves[rng.IntN(len(moves))]
		})
	}
	t.Logf("%d steps if all goes well; all %d schedules with a deviation, or with two in the first %d steps; %d random ones of seed %d; %d states",
		len(well.moves), all, *exploreDepth, schedules-all, *exploreSeed, len(states))
}

// replay runs one schedule. The jitter of retries can make it go another way, so it
// is run several times.
func replay(t *testing.T, text string) {
	name, moves, _ := strings.Cut(text, "/")
	s, err := parseSchedule(moves)
	i := slices.IndexFunc(worlds, func(c worldConfig) bool { return c.name == name })
	if err != nil || i < 0 {
		t.Fatalf("not a schedule: %q (%v)", text, err)
	}
	for range 20 {
		if c := explore(t, worlds[i], s, nil); c.wrong != "" {
			t.Fatalf("%s\n%s", c.wrong, strings.Join(c.story, "\n"))
		} else if testing.Verbose() {
			t.Logf("nothing wrong:\n%s", strings.Join(c.story, "\n"))
		}
	}
}
