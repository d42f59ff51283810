// Command probe answers over HTTP what is on a bus, for the end-to-end test: a
// cluster has no client of its own to ask with.
//
//	GET /nats?url=nats://nats:4222&stream=PUSHOVER&subject=pushover.messages.>
//	GET /kafka?brokers=kafka:9092&topic=pushover.messages
//	GET /dial?addr=nats:4222
//	GET /http?url=http://e2e:8080/readyz
//
// The answer to the first two is a [summary]; then whether a connection can be
// made from inside the cluster, and a [reply], whatever its status.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	kafka "github.com/segmentio/kafka-go"
)

// budget bounds one answer.
const budget = 30 * time.Second

// A summary says what events there are. Ordered means that each id is greater
// than the one before it.
type summary struct {
	Events   int      `json:"events"`
	Distinct int      `json:"distinct"`
	Ordered  bool     `json:"ordered"`
	First    string   `json:"first,omitempty"`
	Last     string   `json:"last,omitempty"`
	Types    []string `json:"types,omitempty"` // each once, in order of appearance

	seen     map[string]bool
	previous int64
}

func newSummary() *summary { return &summary{Ordered: true, seen: map[string]bool{}} }

// add takes one event in structured mode.
func (s *summary) add(body []byte) error {
	var event struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return fmt.Errorf("something on the bus is not an event: %w", err)
	}
	if event.ID == "" {
		return errors.New("something on the bus is not an event: it has no id")
	}
	s.Events++
	if !s.seen[event.ID] {
		s.Distinct++
	}
	s.seen[event.ID] = true
	if !s.seen["type "+event.Type] {
		s.seen["type "+event.Type] = true
		s.Types = append(s.Types, event.Type)
	}
	if id, err := strconv.ParseInt(event.ID, 10, 64); err == nil {
		s.Ordered = s.Ordered && id > s.previous
		s.previous = id
	}
	if s.First == "" {
		s.First = event.ID
	}
	s.Last = event.ID
	return nil
}

func main() {
	if err := serve(); err != nil {
		slog.Error("serving", slog.Any("error", err))
		os.Exit(1)
	}
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /nats", answer(askNATS))
	mux.HandleFunc("GET /kafka", answer(askKafka))
	mux.HandleFunc("GET /dial", answerDial)
	mux.HandleFunc("GET /http", answerHTTP)
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answer(ask func(context.Context, *http.Request) (*summary, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), budget)
		defer cancel()
		s, err := ask(ctx, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // the client going away is its own affair
	}
}

func answerDial(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.FormValue("addr"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_ = conn.Close() // it was made, which is all there is to know
	fmt.Fprintln(w, "ok")
}

// A reply is what a server inside the cluster said: kubectl shows the body of no
// answer but a good one.
type reply struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

func answerHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	got, err := askHTTP(ctx, r.FormValue("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(got) // the client going away is its own affair
}

func askHTTP(ctx context.Context, url string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return reply{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return reply{response.StatusCode, string(body)}, err
}

func askNATS(ctx context.Context, r *http.Request) (*summary, error) {
	nc, err := nats.Connect(r.FormValue("url"), nats.Timeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s := newSummary()
	stream, err := js.Stream(ctx, r.FormValue("stream"))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the stream: %w", err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{r.FormValue("subject")}})
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w", err)
	}
	pending := consumer.CachedInfo().NumPending
	if pending == 0 {
		return s, nil
	}
	messages, err := consumer.Messages() // Next of the consumer would make a new one each time
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w", err)
	}
	defer messages.Stop()
	for pending > 0 {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read the stream: %w", err)
		}
		if err := s.add(m.Data()); err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		pending = meta.NumPending
	}
	return s, nil
}

func askKafka(ctx context.Context, r *http.Request) (*summary, error) {
	brokers, topic := r.FormValue("brokers"), r.FormValue("topic")
	s := newSummary()
	client := &kafka.Client{Addr: kafka.TCP(brokers), Timeout: budget}
	found, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.LastOffsetOf(0)}}, IsolationLevel: kafka.ReadCommitted,
	})
	if err != nil {
		return nil, fmt.Errorf("look at the topic: %w", err)
	}
	partition := found.Topics[topic][0]
	if errors.Is(partition.Error, kafka.UnknownTopicOrPartition) {
		return s, nil
	}
	if partition.Error != nil {
		return nil, fmt.Errorf("look at the topic: %w", partition.Error)
	}
	for offset := int64(0); offset < partition.LastOffset; {
		got, err := client.Fetch(ctx, &kafka.FetchRequest{
			Topic: topic, Offset: offset, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: time.Second, IsolationLevel: kafka.ReadCommitted,
		})
		if err == nil {
			err = got.Error
		}
		if err != nil {
			return nil, fmt.Errorf("read the topic: %w", err)
		}
		before := offset
		for {
			record, err := got.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read the topic: %w", err)
			}
			offset = record.Offset + 1
			if record.Offset < before {
				continue // a batch may begin before what was asked for
			}
			body, err := io.ReadAll(record.Value)
			if err != nil {
				return nil, fmt.Errorf("read the topic: %w", err)
			}
			if err := s.add(body); err != nil {
				return nil, err
			}
		}
		if offset == before {
			offset++ // a marker of a transaction, which holds no record
		}
	}
	return s, nil
}
