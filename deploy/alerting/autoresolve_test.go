package alerting_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/grafana/alerting/templates"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/types"
	"github.com/prometheus/common/model"
)

const (
	seed      = 1
	sequences = 200
	kills     = 8
	patience  = 90 * time.Second // bounds every wait
)

// A sent message, and what is true when it is sent.
type sent struct {
	title, message string
	receipt        string // none in a resolution
	at             time.Time
	alerts         []string        // that it lists as firing
	firing         map[string]bool // of the whole group
}

// A sequence is the life of one group of alerts.
type sequence struct {
	app       string
	log       []sent // as the connector stores it
	legal     []string
	ambiguous bool // something in it must be left to people
}

// Over random lives of groups of alerts no emergency of a firing alert is
// acknowledged, every other is if nothing about it is in doubt, and each once,
// however often the consumer is killed.
func TestResolvedAlertsAreAcknowledged(t *testing.T) {
	r := rand.New(rand.NewPCG(seed, 0))
	render := []func(*testing.T, string, []*types.Alert, time.Time) (string, string){alertmanager(t), grafana(t)}
	var all []sequence
	for i := range sequences {
		all = append(all, newSequence(t, r, i, render[i%len(render)]))
	}
	b := newBus(t)
	program := filepath.Join(t.TempDir(), "autoresolve")
	build := exec.Command("go", "build", "-o", program, "./deploy/examples/autoresolve")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The lives overlap in the log, each in its own order.
	type entry struct {
		app string
		sent
	}
	var entries []entry
	for left := slices.Clone(all); len(left) > 0; {
		i := r.IntN(len(left))
		entries = append(entries, entry{left[i].app, left[i].log[0]})
		if left[i].log = left[i].log[1:]; len(left[i].log) == 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	id := 0
	publish := func(app string, s sent) {
		id++
		b.publish(id, app, s)
	}
	chunk := len(entries)/kills + 1
	for part := range slices.Chunk(entries, chunk) {
		before := b.count()
		stop := b.start(program)
		for _, e := range part {
			publish(e.app, e.sent)
		}
		b.until(func() bool { return b.count() > before })
		stop() // in the midst of the rest
	}
	b.start(program)
	now := time.Now()
	title, message := render[0](t, "Last", []*types.Alert{newAlert("Last", "x", "", now, true)}, now)
	publish("last", sent{title: title, message: message, receipt: receipt("last", 0), at: now})
	title, message = render[0](t, "Last", []*types.Alert{newAlert("Last", "x", "", now, false)}, now)
	publish("last", sent{title: title, message: message, at: now.Add(time.Minute)})
	b.until(func() bool { return slices.Contains(b.commands(), receipt("last", 0)) })

	commands := b.commands()
	times := map[string]int{}
	for _, c := range commands {
		times[c]++
	}
	clear, doubtful := 0, 0
	for _, s := range all {
		for _, m := range s.log {
			n := times[m.receipt]
			switch legal := slices.Contains(s.legal, m.receipt); {
			case m.receipt == "":
			case n > 1:
				t.Errorf("%s: %d commands for one emergency %q", s.app, n, m.title)
			case n == 1 && !legal:
				t.Errorf("%s: an emergency of a firing alert was acknowledged: %q", s.app, m.title)
			case n == 0 && legal && !s.ambiguous:
				t.Errorf("%s: a resolved emergency was not acknowledged: %q\n%s", s.app, m.title, m.message)
			case n == 0 && legal:
				doubtful++
			case n == 1:
				clear++
			}
		}
	}
	t.Logf("%d messages; %d emergencies acknowledged, %d that are over left to people", len(entries), clear, doubtful)
	if clear < sequences || doubtful == 0 {
		t.Errorf("%d acknowledged and %d doubtful: the sequences try too little", clear, doubtful)
	}
}

func newSequence(t *testing.T, r *rand.Rand, number int, render func(*testing.T, string, []*types.Alert, time.Time) (string, string)) sequence {
	s := sequence{app: fmt.Sprintf("app %d", number)}
	group := []string{"DiskFull", "Disk full (root)", "[FIRING:1] odd - name", "Überlauf"}[r.IntN(4)]
	padding := ""
	if r.IntN(5) == 0 {
		padding = strings.Repeat("a long description ", 20)
	}
	names := []string{"a", "b", "c (x)", "d - e"}[:1+r.IntN(4)]
	firing := map[string]bool{}
	var all []sent
	at := time.Now().Add(-40 * time.Minute).Truncate(time.Second)
	for range 3 + r.IntN(6) {
		was := maps.Clone(firing)
		for range 1 + r.IntN(2) {
			name := names[r.IntN(len(names))]
			firing[name] = !was[name]
		}
		if r.IntN(3) == 0 { // everything is over, as it mostly is
			for name := range firing {
				firing[name] = false
			}
		}
		m := sent{at: at, firing: maps.Clone(firing)}
		var alerts []*types.Alert
		for _, name := range names {
			if firing[name] || was[name] { // what fires, and what is newly resolved
				alerts = append(alerts, newAlert(group, name, padding, at, firing[name]))
			}
			if firing[name] {
				m.alerts = append(m.alerts, name)
			}
		}
		if len(alerts) == 0 {
			continue
		}
		m.title, m.message = render(t, group, alerts, at)
		m.message, _ = notify.TruncateInRunes(m.message, 1024)
		// A cut message may still list all that it has to, which is for the consumer to see.
		s.ambiguous = s.ambiguous || strings.HasSuffix(m.message, "…")
		m.message = strings.TrimSpace(m.message)
		if len(m.alerts) > 0 {
			m.receipt = receipt(s.app, len(all))
		}
		all = append(all, m)
		at = at.Add(time.Duration(1+r.IntN(60)) * time.Second)
		if r.IntN(12) == 0 {
			at = m.at
		}
	}
	for i, m := range all {
		over := func(later sent) bool {
			return !slices.ContainsFunc(m.alerts, func(name string) bool { return later.firing[name] })
		}
		if m.receipt != "" && slices.ContainsFunc(all[i+1:], over) {
			s.legal = append(s.legal, m.receipt)
		}
	}
	for i := 1; i < len(all); i++ {
		if all[i].at.Equal(all[i-1].at) {
			s.ambiguous = true
			if r.IntN(2) == 0 { // ids order time to the second only
				all[i], all[i-1] = all[i-1], all[i]
			}
		}
	}
	s.log = all
	if len(s.log) == 0 {
		return newSequence(t, r, number, render)
	}
	return s
}

func newAlert(group, instance, padding string, at time.Time, firing bool) *types.Alert {
	a := &types.Alert{Alert: model.Alert{
		Labels:      model.LabelSet{"alertname": model.LabelValue(group), "instance": model.LabelValue(instance), "severity": "critical"},
		Annotations: model.LabelSet{"summary": model.LabelValue("Labels: of " + instance + "\nLabels:\n - x = y"), "description": model.LabelValue(padding)},
		StartsAt:    at.Add(-time.Minute), EndsAt: at.Add(time.Hour), GeneratorURL: "http://prometheus.example/graph",
	}}
	if !firing {
		a.EndsAt = at.Add(-time.Second)
	}
	return a
}

func receipt(app string, n int) string {
	return strings.ReplaceAll(fmt.Sprintf("%-30s", fmt.Sprintf("r%sn%d", strings.ReplaceAll(app, " ", ""), n)), " ", "0")
}

// alertmanager renders with its default templates.
func alertmanager(t *testing.T) func(*testing.T, string, []*types.Alert, time.Time) (string, string) {
	tmpl, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExternalURL = &url.URL{Scheme: "http", Host: "alertmanager.example"}
	return func(t *testing.T, group string, alerts []*types.Alert, _ time.Time) (string, string) {
		data := tmpl.Data("pushover", model.LabelSet{"alertname": model.LabelValue(group)}, alerts...)
		text := func(name string) string {
			out, err := tmpl.ExecuteTextString(`{{ template "`+name+`" . }}`, data)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		return text("pushover.default.title"), text("pushover.default.message")
	}
}

// grafana renders with its default templates.
func grafana(t *testing.T) func(*testing.T, string, []*types.Alert, time.Time) (string, string) {
	factory, err := templates.NewFactory(nil, log.NewNopLogger(), "http://grafana.example", "1")
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := factory.GetTemplate(templates.GrafanaKind)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, group string, alerts []*types.Alert, _ time.Time) (string, string) {
		ctx := notify.WithReceiverName(context.Background(), "pushover")
		ctx = notify.WithGroupLabels(ctx, model.LabelSet{"alertname": model.LabelValue(group)})
		var err error
		text, _ := templates.TmplText(ctx, tmpl, alerts, log.NewNopLogger(), &err)
		title, message := text(templates.DefaultMessageTitleEmbed), text(templates.DefaultMessageEmbed)
		if err != nil {
			t.Fatal(err)
		}
		return title, message
	}
}

// bus is a NATS server with the connector's streams.
type bus struct {
	t   *testing.T
	url string
	js  jetstream.JetStream
}

func newBus(t *testing.T) *bus {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server did not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b := &bus{t: t, url: s.ClientURL()}
	if b.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	for name, subject := range map[string]string{"PUSHOVER": "pushover.messages.>", "PUSHOVER_CONTROL": "pushover.control.>"} {
		config := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Duplicates: 100 * time.Millisecond} // none that would hide a repeat
		if _, err := b.js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// start runs the consumer until it is killed.
func (b *bus) start(program string) (kill func()) {
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "NATS_URL="+b.url)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		_ = cmd.Process.Kill() // fails if it has ended, which Wait tells
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			b.t.Errorf("the consumer ended by itself: %v\n%s", err, output.String())
		}
	}
	b.t.Cleanup(kill)
	return kill
}

func (b *bus) publish(id int, app string, s sent) {
	b.t.Helper()
	data := map[string]any{"id": fmt.Sprint(id), "app": app, "title": s.title, "message": s.message, "acked": false, "url": "http://sender.example"}
	subject := "pushover.messages.low.app"
	if s.receipt != "" {
		data["receipt"], subject = s.receipt, "pushover.messages.emergency.app"
	}
	body, err := json.Marshal(map[string]any{
		"id": fmt.Sprint(id), "source": "pushover://device/nas-1", "time": s.at.Truncate(time.Second), "recordedtime": s.at, "data": data,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.js.Publish(b.t.Context(), subject, body); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bus) control() *jetstream.StreamInfo {
	stream, err := b.js.Stream(b.t.Context(), "PUSHOVER_CONTROL")
	if err != nil {
		b.t.Fatal(err)
	}
	return stream.CachedInfo()
}

func (b *bus) count() uint64 { return b.control().State.Msgs }

// commands returns the receipts of all commands.
func (b *bus) commands() (receipts []string) {
	stream, err := b.js.Stream(b.t.Context(), "PUSHOVER_CONTROL")
	if err != nil {
		b.t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(b.t.Context(), seq)
		if err != nil {
			b.t.Fatal(err)
		}
		var command struct{ Receipt string }
		if err := json.Unmarshal(m.Data, &command); err != nil {
			b.t.Fatal(err)
		}
		receipts = append(receipts, command.Receipt)
	}
	return receipts
}

func (b *bus) until(cond func() bool) {
	b.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatal("waited too long for a command")
		}
	}
}
