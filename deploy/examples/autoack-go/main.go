// Command autoack-go acknowledges a class of emergencies by itself: those of one
// application whose title matches. All others are left to people.
//
//	NATS_URL=nats://127.0.0.1:4222 autoack-go -app Backup -title '^retry [0-9]+ failed'
//
// It may be down as long as it likes: the durable consumer remembers where it
// was. Several may run at a time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// life is how long an emergency can ask for attention at most.
const life = 3 * time.Hour

func main() {
	var r rule
	flag.StringVar(&r.app, "app", "", "application whose emergencies are acknowledged")
	title := flag.String("title", "", "regular expression that their titles match")
	flag.Parse()
	var err error
	if r.title, err = regexp.Compile(*title); err == nil && r.app == "" {
		err = errors.New("-app is missing: acknowledging everything would silence everything")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "autoack-go:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = watch(ctx, os.Getenv("NATS_URL"), r)
	stopped := ctx.Err() != nil
	stop()
	if !stopped {
		fmt.Fprintln(os.Stderr, "autoack-go:", err)
		os.Exit(1)
	}
}

// An emergency is what a rule looks at.
type emergency struct {
	App, Title, Receipt string
	Acked               bool
}

// A rule says which emergencies need no person.
type rule struct {
	app   string
	title *regexp.Regexp
}

func (r rule) matches(e emergency) bool {
	return e.Receipt != "" && !e.Acked && e.App == r.app && r.title.MatchString(e.Title)
}

// watch publishes a command for every emergency that the rule matches.
func watch(ctx context.Context, url string, r rule) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, "PUSHOVER", jetstream.ConsumerConfig{
		Durable: "autoack", FilterSubject: "pushover.messages.emergency.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		var event struct {
			ID           string
			RecordedTime time.Time // when the connector had it; senders choose the others
			Data         emergency
		}
		err = json.Unmarshal(m.Data(), &event)
		if err == nil && time.Since(event.RecordedTime) < life && r.matches(event.Data) {
			command := fmt.Appendf(nil, `{"receipt":%q,"id":"autoack-%s"}`, event.Data.Receipt, event.ID)
			if _, err := js.Publish(ctx, "pushover.control.ack", command); err != nil {
				return err // the event comes again at the next start
			}
			fmt.Printf("acknowledging %s: %s\n", event.ID, event.Data.Title)
		}
		// Only now: an event whose command may not be on the bus must come again.
		if err := m.Ack(); err != nil {
			return err
		}
	}
}
