package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// exitNotAsked is the exit code of commands that ask the running connector
	// when it cannot be reached.
	exitNotAsked = 2

	// askBudget is how long they wait for an answer unless they are told.
	askBudget = 10 * time.Second

	// busPatience is how long the bus may take to answer before HTTP_ADDR is asked
	// too: it may be the bus that hangs.
	busPatience = 2 * time.Second

	// maxStatus bounds the answer of what listens at HTTP_ADDR, whatever that is.
	maxStatus = 16 << 20
)

// errKeepsNothing is the answer to an attempt to read what was printed.
var errKeepsNothing = errors.New("SINK=stdout stores nothing: its events are the output of 'pushover-connector run'; use SINK=nats or SINK=kafka")

// openBusAsClient opens the configured bus to talk to a running connector or to
// read its log: it creates nothing and takes nothing over.
func openBusAsClient(ctx context.Context, settings *settings, s streams) (*bus, error) {
	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	b, err := openBus(ctx, settings, busOptions{
		device: settings.pushover.DeviceName, attach: true, out: io.Discard,
		log: newLogger(generalSettings{LogLevel: slog.LevelError}, s.err),
	})
	var dial *net.OpError
	if settings.general.Sink == "nats" && settings.nats.URL == "" && errors.As(err, &dial) && dial.Op == "dial" {
		return nil, fmt.Errorf("no connector runs here: nothing answers on NATS_LISTEN=%s (%w); set NATS_URL if it uses another server",
			settings.nats.Listen, dial)
	}
	return b, err
}

// command gives the running connector a command without a receipt and returns
// its result: by a request where the bus has them, else on the control topic.
func (b *bus) command(ctx context.Context, verb string) (connector.Result, error) {
	if b.request == nil {
		return b.commandByTopic(ctx, verb)
	}
	answer, err := b.request(ctx, verb, nil)
	var refused *connector.RequestError
	switch {
	case errors.As(err, &refused) && refused.Code == http.StatusConflict:
		return connector.Result{Status: connector.StatusRejected, Reason: refused.Description}, nil
	case err != nil:
		return connector.Result{}, err
	case verb != "status":
		return connector.Result{Status: connector.StatusDone}, nil
	}
	status := new(connector.Status)
	if err := json.Unmarshal(answer, status); err != nil {
		return connector.Result{}, fmt.Errorf("read the status: %w", err)
	}
	return connector.Result{Status: connector.StatusDone, Answer: status}, nil
}

func (b *bus) commandByTopic(ctx context.Context, verb string) (connector.Result, error) {
	body, err := json.Marshal(map[string]string{"command": verb, "id": rand.Text()})
	if err != nil {
		return connector.Result{}, err
	}
	result, err := b.sendCommand(ctx, body)
	if errors.Is(err, connector.ErrNoResult) {
		err = fmt.Errorf("no connector answered in time; is one running with this KAFKA_CONTROL_TOPIC? (%w)", err)
	}
	return result, err
}

// askStatus asks the running connector for its status within the timeout: over
// the bus, or where that fails or takes long at HTTP_ADDR.
func askStatus(ctx context.Context, s streams, timeout time.Duration) (connector.Status, error) {
	settings, err := loadSettings()
	if err != nil {
		return connector.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if settings.general.Sink == "stdout" {
		return getStatus(ctx, settings.general.HTTPAddr)
	}
	type answer struct {
		status connector.Status
		err    error
	}
	asked := make(chan answer, 1)
	go func() {
		status, err := askOverBus(ctx, settings, s)
		asked <- answer{status, err}
	}()
	overBus := answer{err: fmt.Errorf("it has not answered within %v", min(busPatience, timeout/2))}
	ended := false
	select {
	case overBus = <-asked:
		if overBus.err == nil {
			return overBus.status, nil
		}
		ended = true
	case <-time.After(min(busPatience, timeout/2)):
	}
	status, httpErr := getStatus(ctx, settings.general.HTTPAddr)
	if httpErr == nil {
		fmt.Fprintf(s.err, "answered over HTTP, because the bus could not be reached: %v\n", overBus.err)
		return status, nil
	}
	if !ended {
		if overBus = <-asked; overBus.err == nil {
			return overBus.status, nil
		}
	}
	return status, fmt.Errorf("cannot reach the connector: %w\nnor over HTTP: %w", overBus.err, httpErr)
}

func askOverBus(ctx context.Context, settings *settings, s streams) (connector.Status, error) {
	b, err := openBusAsClient(ctx, settings, s)
	if err != nil {
		return connector.Status{}, err
	}
	defer func() { _ = b.close(context.WithoutCancel(ctx)) }()
	return b.status(ctx)
}

func (b *bus) status(ctx context.Context) (connector.Status, error) {
	result, err := b.command(ctx, "status")
	switch {
	case err != nil:
		return connector.Status{}, err
	case result.Answer == nil:
		return connector.Status{}, fmt.Errorf("the answer is %s: %s", result.Status, result.Reason)
	}
	return *result.Answer, nil
}

// getStatus asks at HTTP_ADDR.
func getStatus(ctx context.Context, addr string) (connector.Status, error) {
	var status connector.Status
	response, err := getLocal(ctx, addr, "/status.json")
	if err != nil {
		return status, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(io.LimitReader(response.Body, maxStatus)).Decode(&status)
	if err != nil || status.State == "" {
		return status, fmt.Errorf("what listens on HTTP_ADDR=%s is not a connector: it answers %s", addr, response.Status)
	}
	return status, nil
}

// getLocal asks the daemon's HTTP server, which listens on addr.
func getLocal(ctx context.Context, addr, path string) (*http.Response, error) {
	if addr == "" {
		return nil, errors.New("HTTP_ADDR is empty, so the connector's status is not available over HTTP")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	// No proxy: the connector is on this machine, whatever HTTP_PROXY says.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the connector at HTTP_ADDR=%s: %w", addr, err)
	}
	return response, nil
}
