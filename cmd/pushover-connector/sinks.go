package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/stdout"
)

// A bus is an opened sink and what else it offers. A nil function is something
// that the bus does not offer.
type bus struct {
	sink       connector.Sink
	durability func(context.Context) (connector.Durability, error)
	checks     func(context.Context) []connector.Check

	serveCommands  func(context.Context, connector.CommandHandler) error
	serveEndpoints func(context.Context, []connector.Endpoint, string) error

	read        func(ctx context.Context, q connector.Query, f func(connector.Stored) error) error
	sendCommand func(ctx context.Context, body []byte) (connector.Result, error)
	request     func(ctx context.Context, endpoint string, body []byte) ([]byte, error)

	address string // for the log
	close   func(context.Context) error
}

// busOptions is what the program tells a bus besides its configuration.
type busOptions struct {
	device   string // name of the device whose events it takes
	readOnly bool   // create and take over nothing
	attach   bool   // talk to a running connector, whose embedded server it may be
	out      io.Writer
	log      *slog.Logger
	metrics  *connector.Metrics
	health   *connector.Health // nil for a client of a running connector
}

// openers is the table of sinks.
var openers = map[string]func(context.Context, *settings, busOptions) (*bus, error){
	"nats":   openNATS,
	"kafka":  openKafka,
	"stdout": openStdout,
}

// openBus opens the configured sink.
func openBus(ctx context.Context, s *settings, o busOptions) (*bus, error) {
	b, err := openers[s.general.Sink](ctx, s, o)
	if err != nil {
		return nil, fmt.Errorf("open sink %s: %w", s.general.Sink, err)
	}
	return b, nil
}

func (o busOptions) duplicates(n int) {
	if o.metrics != nil {
		o.metrics.Duplicates(n)
	}
}

func openNATS(ctx context.Context, s *settings, o busOptions) (*bus, error) {
	b, err := nats.Open(ctx, s.nats, nats.Options{
		Mode: s.general.EventMode, StoreDir: filepath.Join(s.general.DataDir, "nats"),
		ReadOnly: o.readOnly, Attach: o.attach, Name: clientName(o.device), Logger: o.log,
		Health: o.health, OnDuplicate: o.duplicates,
	})
	if err != nil {
		return nil, err
	}
	return &bus{
		sink: b, durability: b.Durability, checks: b.Checks, read: b.Read,
		serveCommands: b.ServeCommands, serveEndpoints: b.ServeEndpoints,
		sendCommand: b.SendCommand, request: b.Request,
		address: b.URL(), close: b.Close,
	}, nil
}

func openKafka(ctx context.Context, s *settings, o busOptions) (*bus, error) {
	b, err := kafka.Open(ctx, s.kafka, kafka.Options{
		Mode: s.general.EventMode, Source: connector.Source(o.device),
		ReadOnly: o.readOnly || o.attach, Name: clientName(o.device), Logger: o.log,
		Health: o.health, OnDuplicate: o.duplicates,
	})
	if err != nil {
		return nil, err
	}
	return &bus{
		sink: b, durability: b.Durability, checks: b.Checks, read: b.Read,
		serveCommands: b.ServeCommands, sendCommand: b.SendCommand,
		address: strings.Join(s.kafka.Brokers, ","), close: b.Close,
	}, nil
}

func openStdout(_ context.Context, _ *settings, o busOptions) (*bus, error) {
	o.health.Activity(connector.PartBus).OK()
	sink := stdout.New(o.out)
	return &bus{
		sink:       sink,
		durability: sink.Durability, checks: func(context.Context) []connector.Check { return nil },
		sendCommand: noCommands,
		close:       func(context.Context) error { return nil },
	}, nil
}

// clientName is how the connector presents itself to a bus's operators.
func clientName(device string) string { return "pushover-connector/" + device }

var errNoControl = errors.New("the stdout sink takes no commands; use SINK=nats or SINK=kafka")

func noCommands(context.Context, []byte) (connector.Result, error) {
	return connector.Result{}, errNoControl
}
