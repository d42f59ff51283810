package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
)

// memoryLog is a log whose reader gets, when it follows, what came is.
type memoryLog struct {
	events, come []connector.Stored
}

func (l *memoryLog) read(_ context.Context, q connector.Query, f func(connector.Stored) error) error {
	all := l.events
	if q.Follow {
		all = slices.Concat(all, l.come)
	}
	all = slices.DeleteFunc(slices.Clone(all), func(e connector.Stored) bool {
		return e.At.Before(q.Since) || len(q.Classes) > 0 && !slices.Contains(q.Classes, e.Class) ||
			q.Priority != "" && e.Class == connector.ClassMessage && eventline.DataOf(e).Priority != q.Priority
	})
	if q.Last > 0 {
		all = all[max(0, len(all)-q.Last):]
	}
	for _, e := range all {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func stored(n int, at time.Time, app, priority string) connector.Stored {
	return connector.Stored{
		Place: fmt.Sprintf("S#%d", n), At: at,
		Event: connector.Event{ID: fmt.Sprint(n), Data: fmt.Appendf(nil, `{"id":"%d","app":%q,"priority_name":%q}`, n, app, priority)},
	}
}

func TestTailSelectsTheNewestAndFollowsWithoutRepeating(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	letter := stored(5, at.Add(3*time.Second), "keller", "low")
	letter.Class = connector.ClassDeadLetter
	log := &memoryLog{
		events: []connector.Stored{
			stored(1, at, "Keller", "high"), stored(2, at, "Dach", "high"), stored(3, at.Add(time.Second), "Keller", "high"),
			stored(4, at.Add(2*time.Second), "Keller", "high"), letter,
		},
		come: []connector.Stored{
			stored(6, at.Add(3*time.Second), "keller", "high"), stored(7, at.Add(4*time.Second), "Dach", "high"),
		},
	}
	for name, c := range map[string]struct {
		t    tail
		want string
	}{
		"by application":              {tail{last: 2, app: "KELLER"}, "4 5"},
		"by application, following":   {tail{last: 2, app: "keller", follow: true}, "4 5 6"},
		"by priority":                 {tail{last: 9, priority: "high"}, "1 2 3 4"},
		"by both, all, following":     {tail{priority: "high", app: "Keller", follow: true}, "1 3 4 6"},
		"by an application not there": {tail{last: 2, app: "Garten", follow: true}, ""},
	} {
		var got []string
		err := c.t.selected(t.Context(), &bus{read: log.read}, connector.Query{Priority: c.t.priority}, func(e connector.Stored) error {
			got = append(got, e.ID)
			return nil
		})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, %v, want %q", name, strings.Join(got, " "), err, c.want)
		}
	}
}
