package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func (l *login) say(format string, args ...any) {
	fmt.Fprintf(l.streams.err, format+"\n", args...)
}

// askLogin asks for e-mail address and password. An empty answer means the
// address that was given before, if there was one.
func (l *login) askLogin(ctx context.Context, before string) (email string, password pushover.Secret, err error) {
	question := "Pushover e-mail address"
	if before != "" {
		question += " [" + before + "]"
	}
	for email == "" {
		if email, err = l.ask(ctx, question); err != nil {
			return "", "", err
		}
		if email == "" {
			email = before
		}
	}
	for password == "" {
		if password, err = l.askHidden(ctx, "Password (not shown)"); err != nil {
			return "", "", err
		}
	}
	return email, password, nil
}

func (l *login) ask(ctx context.Context, question string) (string, error) {
	line, err := l.prompt(ctx, question, func() (string, error) { return l.input.ReadString('\n') })
	return strings.TrimSpace(line), err
}

func (l *login) askHidden(ctx context.Context, question string) (pushover.Secret, error) {
	password, err := l.prompt(ctx, question, func() (string, error) {
		password, err := term.ReadPassword(int(l.streams.in.Fd()))
		fmt.Fprintln(l.streams.err)
		return string(password), err
	})
	return pushover.Secret(password), err
}

// prompt shows a question and reads the answer. Ctrl-C ends it at once and
// leaves the terminal as it was; the read itself cannot be interrupted, and is
// left behind for the end of the process.
func (l *login) prompt(ctx context.Context, question string, read func() (string, error)) (string, error) {
	fmt.Fprintf(l.streams.err, "%s: ", question)
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	fd := int(l.streams.in.Fd())
	before, stateErr := term.GetState(fd)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		if errors.Is(a.err, io.EOF) {
			return "", errors.New("input ended; " + l.soFar)
		}
		return a.text, a.err
	case <-ctx.Done():
		fmt.Fprintln(l.streams.err)
		if stateErr == nil {
			if err := term.Restore(fd, before); err != nil {
				l.say("The terminal could not be restored (%v); type 'stty sane'.", err)
			}
		}
		return "", context.Cause(ctx)
	}
}
