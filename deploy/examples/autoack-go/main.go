// Command autoack-go acknowledges a class of emergencies by itself: those of one
// application whose title matches. All others are left to people.
//
//	NATS_URL=nats://127.0.0.1:4222 autoack-go -app Backup -title '^retry [0-9]+ failed'
//
// It may be down as long as it likes: the durable consumer remembers where it
// was. Copies with one rule share a consumer, and so the work; those with
// different rules have one each, and every rule sees every emergency.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
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

// idle is when the server may forget the consumer of a rule that nobody runs any
// more. A later start looks at all emergencies again, and acts on none that is old.
const idle = 30 * 24 * time.Hour

func main() {
	var r rule
	flag.StringVar(&r.app, "app", "", "application whose emergencies are acknowledged")
	title := flag.String("title", "", "regular expression that their titles match")
	name := flag.String("name", "", "of the durable consumer; default: one for each rule")
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
	err = watch(ctx, os.Getenv("NATS_URL"), cmp.Or(*name, r.consumer()), r)
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
	Acked               bool   // somebody was there first
	Stale               bool   // it was over when it was recorded
	RepeatOf            string `json:"repeat_of"` // first event of the same emergency, which was looked at
}

// A rule says which emergencies need no person.
type rule struct {
	app   string
	title *regexp.Regexp
}

func (r rule) matches(e emergency) bool {
	burning := e.Receipt != "" && !e.Acked && !e.Stale && e.RepeatOf == ""
	return burning && e.App == r.app && r.title.MatchString(e.Title)
}

// consumer names the rule's consumer: two rules on one consumer would take each
// other's events.
func (r rule) consumer() string {
	return fmt.Sprintf("autoack-%.6x", sha256.Sum256([]byte(r.app+"\x00"+r.title.String())))
}

// watch publishes a command for every emergency that the rule matches.
func watch(ctx context.Context, url, name string, r rule) error {
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
		Durable: name, FilterSubject: "pushover.messages.emergency.>",
		AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: idle,
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
			// One command for each receipt, also if the event is delivered twice.
			once := jetstream.WithMsgID("autoack-" + event.Data.Receipt)
			if _, err := js.Publish(ctx, "pushover.control.ack", command, once); err != nil {
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
