package kafka

import (
	"context"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Of the connectors that share a control topic and a group, such as those for
// several devices of an account, one carries out the commands: it has the turn. Who
// that is stands in the metadata of an offset of a group of its own, with a count
// that the holder raises. Another takes the turn when the count stands still, as it
// would by itself see, whatever the clocks say. Until the holder has noticed, both may
// carry out a command, which is harmless.
const (
	turnBeat = 5 * time.Second
	turnLife = 3 * turnBeat
)

type turn struct {
	holder string // a source; "" is nobody
	count  int64
}

func (c *commandServer) turnGroup() string { return c.config.Group + "-turn" }

// awaitTurn waits until this connector has the turn. It returns false if ctx ends
// before.
func (c *commandServer) awaitTurn(ctx context.Context, looking *connector.Activity) bool {
	var seen turn
	var since time.Time
	pause := newBackOff(backoffMin, backoffMax)
	for ctx.Err() == nil {
		if c.fenced() { // for good
			_ = sleep(ctx, turnBeat)
			continue
		}
		now, err := c.readTurn(ctx)
		switch {
		case err == nil && now != seen:
			if now.holder != "" && now.holder != c.source && seen.holder != now.holder {
				c.log.Info("commands are carried out by another connector, standing by", "source", now.holder)
			}
			seen, since = now, time.Now()
			fallthrough
		case err == nil:
			if now.holder == "" || now.holder == c.source || time.Since(since) >= turnLife {
				err = c.writeTurn(ctx, turn{c.source, now.count + 1})
			} else {
				looking.OK()
				_ = sleep(ctx, turnBeat)
				continue
			}
		}
		switch {
		case codeOf(err) == kafka.GroupAuthorizationFailed:
			c.log.Warn("turn not permitted, every connector that shares the control topic carries out its commands",
				"group", c.turnGroup(), "remedy", "allow it: "+c.aclLine("--operation Read --group "+c.turnGroup()))
			return true
		case err == nil:
			return true
		}
		wait := pause.NextBackOff()
		c.failed(ctx, looking, c.explain(err, c.config.ControlTopic), wait)
		_ = sleep(ctx, wait)
	}
	return false
}

// keepTurn shows that this connector has the turn, until ctx ends, and calls lost when
// another has taken it, or the device.
func (c *commandServer) keepTurn(ctx context.Context, lost func()) {
	for sleep(ctx, turnBeat) == nil {
		now, err := c.readTurn(ctx)
		switch {
		case c.fenced():
			lost()
			return
		case err != nil: // others report it
		case now.holder != "" && now.holder != c.source: // nobody: the topic was deleted, and all offsets with it
			c.log.Warn("turn lost, standing by", "source", now.holder)
			lost()
			return
		default:
			_ = c.writeTurn(ctx, turn{c.source, now.count + 1}) // if it fails, so does much else
		}
	}
}

// leaveTurn lets another connector have the turn at once.
func (c *commandServer) leaveTurn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalCommit)
	defer cancel()
	if now, err := c.readTurn(ctx); err == nil && now.holder == c.source && !c.fenced() {
		_ = c.writeTurn(ctx, turn{"", now.count + 1}) // it would only take longer
	}
}

func (c *commandServer) readTurn(ctx context.Context) (turn, error) {
	count, holder, err := c.fetchOffset(ctx, c.turnGroup(), 0)
	return turn{holder, max(count, 0)}, err
}

func (c *commandServer) writeTurn(ctx context.Context, t turn) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := c.commitOffset(ctx, c.turnGroup(), kafka.OffsetCommit{Offset: t.count, Metadata: t.holder}); err != nil {
		return fmt.Errorf("take the turn: %w", err)
	}
	return nil
}
