package nats

import "log/slog"

// Leading is what is done to a whole batch before any of it is sent.
var Leading = leading

// StoreFailure is what the embedded server's log says about its store, "" if it
// says nothing.
func StoreFailure(format string, v ...any) (failure string) {
	l := &serverLog{log: slog.New(slog.DiscardHandler), storeFailed: func(text string) { failure = text }}
	l.Warnf(format, v...)
	return failure
}
