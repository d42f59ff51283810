package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Durability looks at the stream of messages and grades it. A stream in memory
// survives a connector; one on disk survives the server's process, but not, on
// its own, a power cut, since a server confirms what it may write to the disk up
// to two minutes later (sync_interval). Only the embedded server, which writes
// at once, or a second replica survives that. A stream that is not there yet, or
// whose embedded server is not, is graded as it would be created.
//
// The warnings are also about the stream of commands, and about streams of other
// JetStream domains that take our subjects.
func (b *Bus) Durability(ctx context.Context) (connector.Durability, error) {
	if b.nc == nil {
		return b.durabilityBeforeStart(), nil
	}
	need := b.needs()[0]
	info, err := b.streamInfo(ctx, need)
	if errors.Is(err, jetstream.ErrStreamNotFound) && b.opts.ReadOnly {
		d := grade(need.config, b.embeddedServer())
		d.Facts = append(d.Facts, "not created yet")
		return d, nil
	}
	if err != nil {
		return connector.Durability{}, err
	}
	d := grade(info.Config, b.embeddedServer())
	switch control, err := b.streamInfo(ctx, b.needs()[1]); {
	case err == nil:
		d.Warnings = append(d.Warnings, gradeControl(control.Config)...)
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return connector.Durability{}, err
	}
	if warning := b.strangerWarning(ctx, info); warning != "" {
		d.Warnings = append(d.Warnings, warning)
	}
	return d, nil
}

// gradeControl says which settings of the stream of commands can lose a command:
// one has to stay until it is carried out, however long we are down, and matters
// as long as an emergency can live.
func gradeControl(c jetstream.StreamConfig) (warnings []string) {
	warn := func(what, remedy string) {
		warnings = append(warnings, fmt.Sprintf("Stream %s, of commands, %s: a command can be lost before it is carried out. %s", c.Name, what, remedy))
	}
	edit := "Run: nats stream edit " + c.Name + " "
	if c.Storage == jetstream.MemoryStorage {
		warn("is kept in memory", "Create a stream with file storage and set NATS_CONTROL_STREAM to it.")
	}
	if c.Retention == jetstream.InterestPolicy {
		warn("has interest retention and drops what is sent before the connector has started once", "Create a stream with limits retention and set NATS_CONTROL_STREAM to it.")
	}
	if c.MaxAge > 0 && c.MaxAge < connector.EmergencyLife {
		warn("drops commands after "+days(c.MaxAge), edit+"--max-age=1d")
	}
	for _, l := range []struct {
		name, flag string
		value      int64
	}{
		{"messages per subject, and all commands have one subject", "max-msgs-per-subject", c.MaxMsgsPerSubject},
		{"messages", "max-msgs", c.MaxMsgs},
		{"bytes", "max-bytes", c.MaxBytes},
	} {
		if l.value <= 0 || l.flag == "max-bytes" && l.value >= maxControlBytes {
			continue
		}
		drops := c.Discard == jetstream.DiscardOld || l.flag == "max-msgs-per-subject" && !c.DiscardNewPerSubject
		switch {
		case drops:
			warn(fmt.Sprintf("drops the oldest beyond %d %s", l.value, l.name), edit+"--"+l.flag+"=-1")
		case c.Retention == jetstream.LimitsPolicy && c.MaxAge == 0: // it would be full one day, of settled commands
			warn(fmt.Sprintf("refuses all commands once it has had %d %s", l.value, l.name), edit+"--"+l.flag+"=-1")
		}
	}
	return warnings
}

func grade(c jetstream.StreamConfig, syncs bool) connector.Durability {
	var d connector.Durability
	fact := func(format string, args ...any) { d.Facts = append(d.Facts, fmt.Sprintf(format, args...)) }
	warn := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }
	edit := "nats stream edit " + c.Name + " "

	fact("stream %s", c.Name)
	fact("replicas %d", max(1, c.Replicas))
	memory := c.Storage == jetstream.MemoryStorage
	switch {
	case memory:
		fact("storage memory")
	case syncs:
		fact("storage file, synced at once")
	default:
		fact("storage file")
	}
	switch {
	case memory && c.Replicas < 2:
		d.Grade = connector.GradeProcess
		warn("Stream %s is kept in memory: a restart of the server loses messages that were deleted from Pushover. Create a stream with file storage and set NATS_STREAM to it.", c.Name)
	case memory:
		d.Grade = connector.GradeCrash
		warn("Stream %s is kept in memory: a power cut of all its servers loses messages that were deleted from Pushover. Create a stream with file storage and set NATS_STREAM to it.", c.Name)
	case syncs, c.Replicas >= 2:
		d.Grade = connector.GradePower
	default:
		d.Grade = connector.GradeCrash
		warn("Stream %s has one replica: unless its server has sync_interval: always, a power cut loses what it confirmed in the last two minutes. Set that, or 3 replicas in a cluster, or CLEAR_DELAY=3m.", c.Name)
	}
	if c.PersistMode == jetstream.AsyncPersistMode {
		d.Grade = min(d.Grade, connector.GradeProcess)
		warn("Stream %s confirms before it writes (persist mode async): a crash of the server loses messages. Create a stream without it and set NATS_STREAM to it.", c.Name)
	}
	gradeWindow(c, edit, fact, warn)
	gradeLimits(c, edit, fact, warn)
	switch c.Retention {
	case jetstream.LimitsPolicy:
	case jetstream.InterestPolicy:
		d.Grade = connector.GradeNone
		warn("Stream %s has interest retention: a message is dropped at once if no consumer is interested in it at that moment. Create a stream with limits retention and set NATS_STREAM to it.", c.Name)
	default:
		fact("retention work queue")
		warn("Stream %s is a work queue: a message disappears once it is consumed, so CLEAR_DELAY waits and cannot read it back. Set NATS_STREAM to a stream with limits retention.", c.Name)
	}
	if len(c.Sources) > 0 {
		fact("sources %d", len(c.Sources))
	}
	return d
}

func gradeWindow(c jetstream.StreamConfig, edit string, fact, warn func(string, ...any)) {
	fact("duplicate window %s", days(c.Duplicates))
	switch {
	case c.Duplicates >= Retention:
	case keeps(c):
		warn("Stream %s has a duplicate window of %s, but Pushover may redeliver a message for up to 21 days, so the end of the stream is read back before each batch. To avoid this, run: %s--dupe-window=21d",
			c.Name, days(c.Duplicates), edit)
	default:
		warn("Stream %s has a duplicate window of %s, but Pushover may redeliver a message for up to 21 days, and what was consumed cannot be read back: a message may be stored twice. Run: %s--dupe-window=21d",
			c.Name, days(c.Duplicates), edit)
	}
}

func gradeLimits(c jetstream.StreamConfig, edit string, fact, warn func(string, ...any)) {
	if c.MaxAge > 0 {
		fact("maximum age %s", days(c.MaxAge))
		if c.MaxAge < Retention {
			warn("Stream %s drops messages after %s, sooner than Pushover would: a consumer that is offline longer misses them. Run: %s--max-age=21d (or longer)", c.Name, days(c.MaxAge), edit)
		}
	}
	limited := false
	for _, l := range []struct {
		name  string
		value int64
	}{{"maximum messages", c.MaxMsgs}, {"maximum bytes", c.MaxBytes}, {"maximum messages per subject", c.MaxMsgsPerSubject}} {
		if l.value > 0 {
			fact("%s %d", l.name, l.value)
			limited = true
		}
	}
	switch {
	case limited && c.Discard == jetstream.DiscardOld:
		fact("drops old messages when full")
		warn("Stream %s drops its oldest messages when it is full, consumed or not. To leave new ones with Pushover instead, run: %s--discard=new", c.Name, edit)
	case limited && c.MaxMsgsPerSubject > 0 && !c.DiscardNewPerSubject:
		fact("drops old messages of a full subject")
		warn("Stream %s drops the oldest messages of a subject that is full, consumed or not. Run: %s--max-msgs-per-subject=-1", c.Name, edit)
	case limited:
		fact("refuses new messages when full")
	}
}

// days writes a duration the way the nats command takes it.
func days(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}
