package nats

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	serviceName = "pushover"

	// maxRequests bounds the requests answered at a time; more get a 503.
	maxRequests = 16
)

// versionForm is what a service's version has to look like, roughly: the rest
// of semantic versioning is the caller's to keep.
var versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$`)

// ServeEndpoints answers requests as the NATS service "pushover" until ctx ends:
// endpoint E on subject prefix.rpc.E, its description and schemas in its
// metadata. It then finishes the requests that have begun and returns nil. Requests are
// answered side by side, at most [maxRequests]; a version that is not semantic
// is announced as 0.0.0.
func (b *Bus) ServeEndpoints(ctx context.Context, es []connector.Endpoint, version string) error {
	if !versionForm.MatchString(version) {
		version = "0.0.0"
	}
	s := &endpointServer{bus: b, slots: make(chan struct{}, maxRequests), counts: map[string]counts{}}
	service, err := micro.AddService(b.nc, micro.Config{
		Name:         serviceName,
		Version:      version,
		Description:  "Pushover connector: acknowledge emergencies, ask for its state",
		StatsHandler: func(e *micro.Endpoint) any { return s.count(e.Name, nil) },
	})
	if err != nil {
		return fmt.Errorf("announce the service: %w", err)
	}
	var failed error
	group := service.AddGroup(b.cfg.SubjectPrefix + ".rpc")
	for _, e := range es {
		err := group.AddEndpoint(e.Name, s.handler(ctx, e), micro.WithEndpointMetadata(map[string]string{
			"description":     e.Description,
			"request_schema":  string(e.RequestSchema),
			"response_schema": string(e.ResponseSchema),
		}))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("announce endpoint %s: %w", e.Name, err))
		}
	}
	if failed == nil {
		<-ctx.Done()
	}
	if err := service.Stop(); err != nil && b.Connected() == nil {
		failed = errors.Join(failed, fmt.Errorf("withdraw the service: %w", err))
	}
	s.close()
	return failed
}

// An endpointServer bounds the requests under way and waits for them.
type endpointServer struct {
	bus   *Bus
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	inHand sync.WaitGroup
	counts map[string]counts // by endpoint
}

// counts is the data of an endpoint's statistics. The service protocol's own
// num_errors and processing_time know only what happens before the handler
// returns, and a request is answered later.
type counts struct {
	Answered int `json:"answered"`
	Failed   int `json:"failed"` // of these, with an error
}

// count changes an endpoint's counts, unless change is nil, and returns them.
func (s *endpointServer) count(endpoint string, change func(*counts)) counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[endpoint]
	if change != nil {
		change(&c)
		s.counts[endpoint] = c
	}
	return c
}

func (s *endpointServer) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		s.inHand.Add(1)
		return true
	default:
		return false
	}
}

func (s *endpointServer) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.inHand.Wait()
}

func (s *endpointServer) handler(ctx context.Context, e connector.Endpoint) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if !s.begin() {
			s.answer(e, r, nil, &connector.RequestError{Code: 503, Description: "busy, try again"})
			return
		}
		go func() {
			defer s.inHand.Done()
			body, err := e.Handle(ctx, r.Data())
			<-s.slots // before the answer: whoever has it may ask again
			s.answer(e, r, body, err)
		}()
	})
}

// answer replies to r. Only a *[connector.RequestError] is fit to be shown. It
// does not use r's own methods: they write to what the service reads once the
// handler has returned, which is before.
func (s *endpointServer) answer(e connector.Endpoint, r micro.Request, body []byte, err error) {
	m := nats.NewMsg(r.Reply())
	m.Data = body
	if err == nil {
		m.Header.Set("Content-Type", "application/json")
	} else {
		known := &connector.RequestError{Code: 500, Description: "internal error, see the connector's log"}
		if !errors.As(err, &known) {
			s.bus.log.Warn("request failed", "endpoint", e.Name, "error", err)
		}
		m.Header.Set(micro.ErrorHeader, known.Description)
		m.Header.Set(micro.ErrorCodeHeader, strconv.Itoa(known.Code))
		m.Data = known.Body
	}
	s.count(e.Name, func(c *counts) {
		c.Answered++
		if err != nil {
			c.Failed++
		}
	})
	if r.Reply() == "" {
		return // nobody waits
	}
	if err := s.bus.nc.PublishMsg(m); err != nil {
		s.bus.log.Warn("reply failed", "endpoint", e.Name, "error", err)
	}
}
