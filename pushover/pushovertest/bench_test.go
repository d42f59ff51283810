package pushovertest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// BenchmarkDrain downloads and deletes a backlog over loopback in pages, with
// a client that only counts bytes: the most a test of a client can ask for.
func BenchmarkDrain(b *testing.B) {
	const backlog = 100_000
	s := pushovertest.New(pushovertest.Options{})
	if err := s.StartOn("127.0.0.1:0", ""); err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	d := s.AddDevice("n")
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 2}}
	defer client.CloseIdleConnections()
	call := func(method, url string) {
		req, err := http.NewRequestWithContext(b.Context(), method, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
	}
	text := strings.Repeat("A text of ordinary length. ", 8)
	b.ReportAllocs()
	messages := 0
	for b.Loop() {
		b.StopTimer()
		sent := s.SendN(backlog, pushovertest.Outgoing{Title: "number {n}", Message: text})
		b.StartTimer()
		for at := 999; at < backlog; at += 1000 {
			call(http.MethodGet, s.APIURL()+"/1/messages.json?"+values{"secret": d.Secret, "device_id": d.ID}.encode())
			call(http.MethodPost, s.APIURL()+"/1/devices/"+d.ID+"/update_highest_message.json?"+
				values{"secret": d.Secret, "message": sent[at].IDs[0]}.encode())
		}
		messages += backlog
	}
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
	if n := len(s.Queue("n")); n != 0 {
		b.Fatalf("%d left", n)
	}
}

func BenchmarkSend(b *testing.B) {
	s := pushovertest.New(pushovertest.Options{})
	s.AddDevice("n")
	b.ReportAllocs()
	for b.Loop() {
		s.Send(pushovertest.Outgoing{Title: "title", Message: "A text of ordinary length."})
	}
}
