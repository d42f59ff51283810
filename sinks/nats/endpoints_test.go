package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

func serveEndpoints(t *testing.T, b *nats.Bus, version string, es ...connector.Endpoint) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.ServeEndpoints(ctx, es, version) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeEndpoints: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func endpoint(name string, handle func(context.Context, []byte) ([]byte, error)) connector.Endpoint {
	return connector.Endpoint{
		Name: name, Description: "Does " + name + ".", Handle: handle,
		RequestSchema: json.RawMessage(`{"type":"object"}`), ResponseSchema: json.RawMessage(`{"type":"string"}`),
	}
}

// ask asks until somebody answers: the service announces itself at its own pace.
func ask(t *testing.T, b *nats.Bus, name string, body []byte) ([]byte, error) {
	t.Helper()
	var answer []byte
	var err error
	eventually(t, "an answer from "+name, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		answer, err = b.Request(ctx, name, body)
		var failed *connector.RequestError
		return err == nil || errors.As(err, &failed) && !strings.Contains(failed.Description, "no connector answers")
	})
	return answer, err
}

func TestRequestsAreAnsweredAndErrorsCarryTheirCode(t *testing.T) {
	srv := startServer(t, nil)
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	serveEndpoints(t, b, "1.2.3",
		endpoint("status", func(_ context.Context, body []byte) ([]byte, error) { return append([]byte("got "), body...), nil }),
		endpoint("ack", func(context.Context, []byte) ([]byte, error) {
			return nil, &connector.RequestError{Code: 409, Description: "expired", Body: []byte(`{"status":"expired"}`)}
		}),
		endpoint("resume", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("detail for the log only") }),
	)
	answer, err := ask(t, b, "status", []byte("x"))
	if err != nil || string(answer) != "got x" {
		t.Errorf("status: got %q, %v, want %q", answer, err, "got x")
	}
	var failed *connector.RequestError
	if _, err = ask(t, b, "ack", nil); !errors.As(err, &failed) || failed.Code != 409 || failed.Description != "expired" || string(failed.Body) != `{"status":"expired"}` {
		t.Errorf("ack: got %v, want 409 with its body", err)
	}
	if _, err = ask(t, b, "resume", nil); !errors.As(err, &failed) || failed.Code != 500 || strings.Contains(failed.Description, "detail") {
		t.Errorf("resume: got %v, want 500 without details", err)
	}
	if _, err = b.Request(t.Context(), "nothing", nil); !errors.As(err, &failed) || failed.Code != 503 {
		t.Errorf("an endpoint that is not there: got %v, want 503", err)
	}
}

func TestServiceIsFoundAsPushoverWithSchemasInItsMetadata(t *testing.T) {
	srv := startServer(t, nil)
	nc, _ := client(t, srv.ClientURL())
	for version, want := range map[string]string{"1.2.3-rc.1": "1.2.3-rc.1", "(devel)": "0.0.0"} {
		b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
		stop := serveEndpoints(t, b, version, endpoint("ack", func(context.Context, []byte) ([]byte, error) { return nil, nil }))
		var info micro.Info
		eventually(t, "the service is announced", func() bool {
			m, err := nc.Request("$SRV.INFO.pushover", nil, time.Second)
			return err == nil && json.Unmarshal(m.Data, &info) == nil && len(info.Endpoints) == 1
		})
		e := info.Endpoints[0]
		if info.Version != want || info.Description == "" || e.Subject != "pushover.rpc.ack" || e.Name != "ack" ||
			e.Metadata["request_schema"] != `{"type":"object"}` || e.Metadata["response_schema"] != `{"type":"string"}` || e.Metadata["description"] != "Does ack." {
			t.Errorf("got %+v", info)
		}
		stop()
		eventually(t, "nobody answers any more", func() bool {
			_, err := nc.Request("pushover.rpc.ack", nil, time.Second)
			return errors.Is(err, upstream.ErrNoResponders)
		})
	}
}

func TestRequestsAreAnsweredSideBySideWithinABound(t *testing.T) {
	srv := startServer(t, nil)
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	begun, release := make(chan struct{}, 100), make(chan struct{})
	stop := serveEndpoints(t, b, "1.0.0", endpoint("ack", func(context.Context, []byte) ([]byte, error) {
		begun <- struct{}{}
		<-release
		return []byte("done"), nil
	}), endpoint("ready", func(context.Context, []byte) ([]byte, error) { return nil, nil }))
	if _, err := ask(t, b, "ready", nil); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if answer, err := b.Request(within(t), "ack", nil); err != nil || string(answer) != "done" {
				t.Errorf("got %q, %v, want done", answer, err)
			}
		})
	}
	for range 16 {
		<-begun
	}
	var busy *connector.RequestError
	if _, err := b.Request(within(t), "ack", nil); !errors.As(err, &busy) || busy.Code != 503 {
		t.Errorf("one too many: got %v, want 503", err)
	}
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	close(release) // requests in hand are finished before the service ends
	group.Wait()
	<-ended
}

func TestServiceIsStillThereAfterAnOutage(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	b := open(t, nats.Config{URL: p.url()}, nats.Options{})
	caller := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Attach: true})
	serveEndpoints(t, b, "1.0.0", endpoint("status", func(context.Context, []byte) ([]byte, error) { return []byte("ok"), nil }))
	for range 3 {
		if answer, err := ask(t, caller, "status", nil); err != nil || string(answer) != "ok" {
			t.Fatalf("got %q, %v", answer, err)
		}
		p.cut()
	}
}

func TestSentCommandIsAnsweredByItsResult(t *testing.T) {
	for _, mode := range []connector.Mode{connector.ModeStructured, connector.ModeBinary} {
		t.Run(mode.String(), func(t *testing.T) {
			srv := startServer(t, nil)
			b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Mode: mode})
			serve(t, b, func(ctx context.Context, c connector.Command) (connector.Result, error) {
				// Of the sender's id, the result may hold a number's text, or the start.
				result, kind := connector.Result{Receipt: string(c.Body), Status: connector.StatusAcknowledged, CommandID: "mine"}, connector.TypeAcknowledged
				if strings.Contains(string(c.Body), "command") {
					result.Status, kind = connector.StatusDone, connector.TypeCommandDone
				}
				data, err := json.Marshal(result)
				if err != nil {
					return result, err
				}
				_, err = b.Publish(ctx, []connector.Event{{
					ID: fmt.Sprintf("%s@%d", c.ID, c.Time.UnixNano()), Source: "pushover://device/a", Type: kind,
					Data: data, Class: connector.ClassResult, Route: []string{"results", string(result.Status)},
					Extensions: []connector.Extension{{Name: "causationid", Value: result.CommandID}},
				}})
				return result, err
			})
			caller := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Attach: true})
			var group sync.WaitGroup
			for _, body := range []string{
				receipt(1), receipt(2), `{"receipt":"` + receipt(3) + `","id":"mine"}`, `{"receipt":"` + receipt(4) + `","id":"mine"}`,
				`{"receipt":"` + receipt(5) + `","id":17}`, `{"receipt":"` + receipt(6) + `","id":"` + strings.Repeat("i", 300) + `"}`,
				`{"command":"status"}`, `{"command":"sync","id":"mine"}`,
			} {
				want := connector.StatusAcknowledged
				if strings.Contains(body, "command") {
					want = connector.StatusDone
				}
				group.Go(func() {
					got, err := caller.SendCommand(within(t), []byte(body))
					if err != nil || got.Receipt != body || got.Status != want {
						t.Errorf("SendCommand of %s: got %+v, %v, want status %s", body, got, err, want)
					}
				})
			}
			group.Wait()
		})
	}
}

func TestCommandWithoutAnAnswerEndsWithTheContext(t *testing.T) {
	srv := startServer(t, nil)
	open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	caller := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Attach: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := caller.SendCommand(ctx, []byte(receipt(1)))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "PUSHOVER_CONTROL#1 was sent") {
		t.Errorf("got %v, want a deadline that says that the command was sent", err)
	}
}
