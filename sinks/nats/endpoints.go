package nats

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

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
// metadata. It then finishes the requests in hand and returns nil. Requests are
// answered side by side, at most [maxRequests]; a version that is not semantic
// is announced as 0.0.0.
func (b *Bus) ServeEndpoints(ctx context.Context, es []connector.Endpoint, version string) error {
	if !versionForm.MatchString(version) {
		version = "0.0.0"
	}
	service, err := micro.AddService(b.nc, micro.Config{
		Name:        serviceName,
		Version:     version,
		Description: "Pushover connector: acknowledge emergencies, ask for its state",
	})
	if err != nil {
		return fmt.Errorf("announce the service: %w", err)
	}
	s := &endpointServer{bus: b, slots: make(chan struct{}, maxRequests)}
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

// An endpointServer bounds the requests in hand and waits for them.
type endpointServer struct {
	bus   *Bus
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	inHand sync.WaitGroup
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
			defer func() { <-s.slots; s.inHand.Done() }()
			body, err := e.Handle(ctx, r.Data())
			s.answer(e, r, body, err)
		}()
	})
}

// answer replies to r. Only a *[connector.RequestError] is fit to be shown.
func (s *endpointServer) answer(e connector.Endpoint, r micro.Request, body []byte, err error) {
	var known *connector.RequestError
	switch {
	case err == nil:
		err = r.Respond(body, micro.WithHeaders(micro.Headers{"Content-Type": {"application/json"}}))
	case errors.As(err, &known):
		err = r.Error(strconv.Itoa(known.Code), known.Description, known.Body)
	default:
		s.bus.log.Warn("request failed", "endpoint", e.Name, "error", err)
		err = r.Error("500", "internal error, see the connector's log", nil)
	}
	if err != nil {
		s.bus.log.Warn("request could not be answered", "endpoint", e.Name, "error", err)
	}
}
