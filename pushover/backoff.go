package pushover

import (
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	shortPause, longPause = time.Second, 5 * time.Second
	maxReloads            = 3 // in a row, before they count as trouble
	maxOutagePause        = 13 * time.Second
)

// A pause decides how long to wait between streams.
type pause struct {
	outage  *backoff.ExponentialBackOff // after what passes with an outage
	ladder  *backoff.ExponentialBackOff // after the rest
	reloads int                         // in a row, of streams that did not hold
}

func newPause() pause {
	return pause{outage: newLadder(maxOutagePause), ladder: newLadder(maxRetry)}
}

func (p *pause) next(e ending) time.Duration {
	if e.held {
		p.outage.Reset()
		p.ladder.Reset()
		p.reloads = 0
		return between(shortPause, longPause)
	}
	if e.reason == ReasonReload && p.reloads < maxReloads {
		p.reloads++
		return between(shortPause, longPause)
	}
	if e.lasting() {
		return p.ladder.NextBackOff()
	}
	return p.outage.NextBackOff()
}

// lasting reports whether the next attempt is likely to end like this one, since
// somebody is there and does not want it: a visit every few seconds is then a
// nuisance.
func (e ending) lasting() bool {
	answer := (*APIError)(nil)
	switch {
	case errors.As(e.err, &answer):
		return answer.HTTPStatus/100 == 4
	default:
		return e.reason == ReasonReload || e.reason == ReasonFrame
	}
}
