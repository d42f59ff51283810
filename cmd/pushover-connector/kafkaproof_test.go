package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// The whole program drains to a real Kafka while it is killed and its connection
// is cut at random moments. Whoever reads the topic, with either isolation level,
// finds each message once and in order. KAFKAPROOF_KILLS sets how often it is
// killed; there are at least a hundred messages to each kill.
func TestKilledAndCutOffTheTopicHoldsEachMessageOnce(t *testing.T) {
	kills := 15
	if env := os.Getenv("KAFKAPROOF_KILLS"); env != "" {
		var err error
		if kills, err = strconv.Atoi(env); err != nil {
			t.Fatal(err)
		}
	}
	port, err := kafkatest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cluster := kafkatest.Start(t, kafkatest.Options{
		Listeners: []kafkatest.Listener{{Name: "PROXIED", Protocol: "PLAINTEXT", Advertise: address}},
	})
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "kafka", address, cluster.Addr("PROXIED"))
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)

	sim := pushovertest.New(pushovertest.Options{PageSize: 25})
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	device := sim.AddDevice("proof")
	dir := t.TempDir()
	creds := pushover.Credentials{
		Secret: pushover.Secret(device.Secret), DeviceID: pushover.DeviceID(device.ID), DeviceName: device.Name,
	}
	if err := creds.Save(filepath.Join(dir, "credentials.json")); err != nil {
		t.Fatal(err)
	}
	var want []string
	send := func(n int) {
		for _, s := range sim.SendN(n, pushovertest.Outgoing{Message: "message {n}"}) {
			want = append(want, s.IDs...)
		}
	}
	send(100 * kills)

	path, err := exec.LookPath("pushover-connector")
	if err != nil {
		t.Fatal(err)
	}
	launch := func() (kill func(), log *bytes.Buffer) {
		log = &bytes.Buffer{}
		cmd := exec.Command(path, "run")
		cmd.Env = []string{
			"HOME=" + dir, "SINK=kafka", "KAFKA_BROKERS=" + address, "HTTP_ADDR=",
			"PUSHOVER_API_URL=" + sim.APIURL(), "PUSHOVER_STREAM_URL=" + sim.StreamURL(),
			"PUSHOVER_CREDENTIALS_FILE=" + filepath.Join(dir, "credentials.json"),
		}
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() {
			_ = cmd.Process.Kill() // it may have ended already
			_ = cmd.Wait()         // killed is an error
		}, log
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cuts := 0
	for range kills {
		if len(sim.Queue("proof")) < 500 {
			send(500) // it got further than expected: every life must end in the middle
		}
		before := len(sim.Queue("proof"))
		kill, log := launch()
		// It gets somewhere, and dies a random moment later: in the middle of a
		// download, a publish or a deletion. In one life out of three its
		// connection to the broker is cut as well.
		progress := before - rand.IntN(100)
		err := sim.Wait(ctx, func(pushovertest.State) bool { return len(sim.Queue("proof")) <= max(progress, 0) })
		if err != nil {
			kill()
			t.Fatalf("no progress from %d messages: %v\n%s", before, err, log)
		}
		if rand.IntN(3) == 0 {
			proxy.Stop()
			if err := proxy.Start(); err != nil {
				t.Fatal(err)
			}
			cuts++
		}
		<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond)
		kill()
	}
	kill, log := launch()
	defer kill()
	if err := sim.Wait(ctx, func(pushovertest.State) bool { return len(sim.Queue("proof")) == 0 }); err != nil {
		t.Fatalf("%d messages are left: %v\n%s", len(sim.Queue("proof")), err, log)
	}
	t.Logf("%d messages, %d kills, %d cuts", len(want), kills, cuts)

	for name, isolation := range map[string]kgo.IsolationLevel{
		"default": kgo.ReadUncommitted(), "read_committed": kgo.ReadCommitted(),
	} {
		if got := consume(ctx, t, cluster.Brokers(), isolation, len(want)); !slices.Equal(got, want) {
			t.Errorf("a %s consumer finds %d messages, want %d once each and in order", name, len(got), len(want))
		}
	}
}

// consume reads the ids on the message topic: n, and whatever more comes before
// an end marker that it produces itself.
func consume(ctx context.Context, t *testing.T, brokers []string, isolation kgo.IsolationLevel, n int) []string {
	t.Helper()
	const topic, marker = "pushover.messages", "the end"
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.DefaultProduceTopic(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(isolation),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	end := marker + strconv.FormatInt(rand.Int64(), 36)
	if err := client.ProduceSync(ctx, kgo.StringRecord(end)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 0, n)
	for {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d messages read: %v", len(ids), err)
		}
		for _, r := range fetches.Records() {
			switch value := string(r.Value); {
			case value == end:
				return ids
			case len(value) > len(marker) && value[:len(marker)] == marker:
			default:
				var e struct {
					ID string `json:"id"`
				}
				if err := json.Unmarshal(r.Value, &e); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, e.ID)
			}
		}
	}
}
