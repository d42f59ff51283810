package main

import (
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
)

// newLogger logs as the settings say: on a terminal for a person, else JSON. Text
// that does not go to a terminal is logfmt.
func newLogger(g generalSettings, w io.Writer) *slog.Logger {
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	switch {
	case g.LogFormat == "text" && !terminal:
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: g.LogLevel, ReplaceAttr: forPeople}))
	case g.LogFormat == "json" || !terminal:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: g.LogLevel, ReplaceAttr: durationsAsText}))
	}
	// Consoles of Windows show colours only when asked to.
	colour := os.Getenv("NO_COLOR") == "" && runtime.GOOS != "windows"
	return terminalLogger(w, g.LogLevel, colour)
}

func terminalLogger(w io.Writer, level slog.Level, colour bool) *slog.Logger {
	return slog.New(tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: time.DateTime, ReplaceAttr: inColour, NoColor: !colour,
	}))
}

// durationsAsText writes "1.5s", which says its unit, where slog would write
// nanoseconds.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// forPeople leaves out empty attributes, and separates the items of a list.
func forPeople(_ []string, a slog.Attr) slog.Attr {
	if list, ok := a.Value.Any().([]string); ok {
		a.Value = slog.StringValue(strings.Join(list, "; "))
	}
	if a.Value.Kind() == slog.KindString && a.Value.String() == "" {
		return slog.Attr{}
	}
	return a
}

// red is the number of the terminal's bright red.
const red = 9

// inColour also keeps texts from steering the terminal: tint lets escape
// sequences pass.
func inColour(groups []string, a slog.Attr) slog.Attr {
	a = forPeople(groups, a)
	err, isError := a.Value.Any().(error)
	switch {
	case isError:
		return tint.Attr(red, slog.String(a.Key, eventline.Printable(err.Error())))
	case a.Value.Kind() == slog.KindString:
		a.Value = slog.StringValue(eventline.Printable(a.Value.String()))
	}
	return a
}
