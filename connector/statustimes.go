package connector

import (
	"fmt"
	"html/template"
	"time"
)

// Latency shows milliseconds in a suitable unit.
func (p page) Latency(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return span(d)
	}
}

// Ago, For and At show a time: how long ago, for how long, and when. The script
// keeps them current, and adds local time to the last.
func (p page) Ago(t time.Time) template.HTML { return mark(t, "ago", span(p.now.Sub(t))+" ago") }
func (p page) For(t time.Time) template.HTML { return mark(t, "for", span(p.now.Sub(t))) }
func (p page) At(t time.Time) template.HTML  { return mark(t, "at", p.absolute(t)) }

// In counts down to something that comes, Left to the end of something.
func (p page) In(t time.Time) template.HTML {
	text := "due now"
	if left := t.Sub(p.now); left > 0 {
		text = "in " + span(left)
	}
	return mark(t, "in", text)
}

func (p page) Left(t time.Time) template.HTML { return mark(t, "left", span(t.Sub(p.now))) }

// When is Ago with the time itself, or "none yet".
func (p page) When(t *time.Time) template.HTML {
	if t == nil {
		return "none yet"
	}
	return p.Ago(*t) + " <small>" + p.At(*t) + "</small>"
}

// Now is when the page was rendered, for the script, which may run on a machine
// with another idea of the time.
func (p page) Now() string { return p.now.UTC().Format(time.RFC3339Nano) }

// Rendered is the same for a person.
func (p page) Rendered() template.HTML { return p.At(p.now) }

func mark(t time.Time, kind, text string) template.HTML {
	return template.HTML(fmt.Sprintf(`<time datetime="%[1]s" title="%[1]s" class="%[2]s">%[3]s</time>`,
		t.UTC().Format("2006-01-02T15:04:05Z"), kind, text))
}

// absolute leaves out today's date.
func (p page) absolute(t time.Time) string {
	t, now := t.UTC(), p.now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}

// span shows a duration in its two largest units at most. The script has the
// same rule.
func span(d time.Duration) string {
	s := int64(max(0, d.Round(time.Second)) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %02d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
	}
}
