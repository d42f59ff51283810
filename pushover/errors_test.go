package pushover_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// answered returns the error that an answer to a call becomes.
func answered(t *testing.T, status int, header http.Header, body string, call func(context.Context, *pushover.Client) error) (err error) {
	t.Helper()
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		for k := range header {
			w.Header().Set(k, header.Get(k))
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}, func(t *testing.T, c *pushover.Client) { err = call(t.Context(), c) })
	return err
}

func TestBothShapesOfErrorsAreUnderstood(t *testing.T) {
	for body, want := range map[string]pushover.APIError{
		`{"status":0,"request":"7c0a","secret":"invalid","errors":["secret is invalid","x"]}`: {
			Errors: []string{"secret is invalid", "x"}, Fields: map[string][]string{"secret": {"invalid"}}, RequestID: "7c0a",
		},
		`{"errors":{"name":["has already been taken","is bad"],"a":["b"]},"status":0,"request":"7c0a"}`: {
			Errors:    []string{"a b", "name has already been taken", "name is bad"},
			Fields:    map[string][]string{"name": {"has already been taken", "is bad"}, "a": {"b"}},
			RequestID: "7c0a",
		},
		`{"errors":{"name":"has already been taken"},"status":0}`: {
			Errors: []string{"name has already been taken"}, Fields: map[string][]string{"name": {"has already been taken"}},
		},
		`{"errors":"just text","status":0}`:                     {Errors: []string{"just text"}, Fields: map[string][]string{}},
		`{"errors":[1,null,["x"],"y"],"status":"0"}`:            {Errors: []string{"1", "y"}, Fields: map[string][]string{}},
		`{"errors":null,"status":0}`:                            {Fields: map[string][]string{}},
		`{"errors":{},"status":0,"message":"too many devices"}`: {Errors: []string{"too many devices"}, Fields: map[string][]string{}},
		`{"status":0,"message":"invalid"}`:                      {Fields: map[string][]string{"message": {"invalid"}}},
		`{"status":2,"errors":["one\nline"]}`:                   {Errors: []string{"one line"}, Fields: map[string][]string{}},
	} {
		err := answered(t, 400, nil, body, func(ctx context.Context, c *pushover.Client) error {
			return c.Acknowledge(ctx, "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		})
		var got *pushover.APIError
		if !errors.As(err, &got) {
			t.Errorf("%s: got %v, want an APIError", body, err)
			continue
		}
		want.Op, want.HTTPStatus = "acknowledge", 400
		plain := pushover.APIError{Op: got.Op, HTTPStatus: got.HTTPStatus, Errors: got.Errors, Fields: got.Fields, RequestID: got.RequestID}
		type view struct {
			Op     string
			Status int
			Errors []string
			Fields map[string][]string
			ID     string
		}
		a := view{want.Op, want.HTTPStatus, want.Errors, want.Fields, want.RequestID}
		b := view{plain.Op, plain.HTTPStatus, plain.Errors, plain.Fields, plain.RequestID}
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("%s (-want +got):\n%s", body, d)
		}
		for _, text := range got.Errors {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error text %q lacks %q", body, err, text)
			}
		}
	}
}

func TestMeaningOfAnswers(t *testing.T) {
	login := func(code string) func(context.Context, *pushover.Client) error {
		return func(ctx context.Context, c *pushover.Client) error {
			_, err := c.Login(ctx, "me@example.org", "password", code)
			return err
		}
	}
	register := func(ctx context.Context, c *pushover.Client) error {
		_, err := c.RegisterDevice(ctx, "nas-1")
		return err
	}
	remove := func(ctx context.Context, c *pushover.Client) error { return c.DeleteThrough(ctx, 1) }
	ack := func(ctx context.Context, c *pushover.Client) error {
		return c.Acknowledge(ctx, "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	}
	all := []error{
		pushover.ErrTwoFactorNeeded, pushover.ErrTwoFactorWrong, pushover.ErrLoginRefused, pushover.ErrDeviceNameTaken,
		pushover.ErrDeviceNameInvalid, pushover.ErrSessionRejected, pushover.ErrRateLimited, pushover.ErrUnavailable,
	}
	for _, tc := range []struct {
		name   string
		call   func(context.Context, *pushover.Client) error
		status int
		body   string
		want   error // nil: an APIError without a further meaning
	}{
		{"2FA needed", login(""), 412, `{"status":0}`, pushover.ErrTwoFactorNeeded},
		{"wrong code, 412", login("123456"), 412, `{"status":0,"errors":["x"]}`, pushover.ErrTwoFactorWrong},
		{"wrong code, 400", login("123456"), 400, `{"status":0,"twofa":"invalid"}`, pushover.ErrTwoFactorWrong},
		{"wrong password with code", login("123456"), 400, `{"status":0,"password":"invalid"}`, pushover.ErrLoginRefused},
		{"wrong password", login(""), 401, `{"status":0}`, pushover.ErrLoginRefused},
		{"refused with 200", login(""), 200, `{"status":0}`, pushover.ErrLoginRefused},
		{"login without secret", login(""), 200, `{"status":1,"id":"u"}`, pushover.ErrUnavailable},
		{"412 of a proxy", login(""), 412, `<html>`, pushover.ErrUnavailable},
		{"name taken", register, 400, `{"status":0,"errors":{"name":["has already been taken"]}}`, pushover.ErrDeviceNameTaken},
		{"name taken as text", register, 400, `{"status":0,"errors":["name has already been taken"]}`, pushover.ErrDeviceNameTaken},
		{"name malformed", register, 400, `{"status":0,"name":"invalid","errors":["name is invalid"]}`, pushover.ErrDeviceNameInvalid},
		{"secret invalid", register, 400, `{"status":0,"errors":{"secret":["is invalid"]}}`, pushover.ErrSessionRejected},
		{"too many devices", register, 400, `{"status":0,"errors":{},"message":"too many devices"}`, nil},
		{"device without id", register, 200, `{"status":1}`, pushover.ErrUnavailable},
		{"too many devices, 409", register, 409, `{"status":0,"errors":["too many devices"]}`, nil},
		{"download refused", download, 400, `{"status":0}`, pushover.ErrUnavailable},
		{"download refused, 401", download, 401, `{"status":0}`, pushover.ErrSessionRejected},
		{"download refused, 403", download, 403, `{"status":0}`, pushover.ErrSessionRejected},
		{"download refused, 404", download, 404, `{"status":0,"device_id":"invalid"}`, pushover.ErrSessionRejected},
		{"download refused, 404 unnamed", download, 404, `{"status":0}`, pushover.ErrUnavailable},
		{"download refused, 422", download, 422, `{"status":0}`, pushover.ErrUnavailable},
		{"download refused, 404 HTML", download, 404, `<html>`, pushover.ErrUnavailable},
		{"download, status 0 with 200", download, 200, `{"status":0,"errors":["please try again"]}`, pushover.ErrUnavailable},
		{"download, 200 that blames", download, 200, `{"status":0,"secret":"invalid"}`, pushover.ErrUnavailable},
		{"download, 408", download, 408, `{"status":0,"errors":["request timeout"]}`, pushover.ErrUnavailable},
		{"download, 409", download, 409, `{"status":0,"errors":["conflict"]}`, pushover.ErrUnavailable},
		{"download, 423", download, 423, `{"status":0,"errors":["device is locked"]}`, pushover.ErrUnavailable},
		{"download has no parameter message", download, 400, `{"status":0,"errors":["message queue is busy"]}`, pushover.ErrUnavailable},
		{"message invalid", remove, 400, `{"status":0,"message":"invalid"}`, nil},
		{"message invalid in words", remove, 400, `{"status":0,"errors":["message is invalid"]}`, nil},
		{"deletion refused", remove, 404, `{"status":0}`, pushover.ErrUnavailable},
		{"deletion refused, 403", remove, 403, `{"status":0}`, pushover.ErrSessionRejected},
		{"deletion, 409", remove, 409, `{"status":0,"message":"invalid"}`, pushover.ErrUnavailable},
		{"receipt unknown", ack, 404, `{"status":0,"receipt":"invalid"}`, nil},
		{"receipt unknown, unnamed", ack, 404, `{"status":0,"errors":["not found"]}`, nil},
		{"receipt of somebody else", ack, 403, `{"status":0,"errors":["receipt is not yours"]}`, nil},
		{"acknowledge forbidden", ack, 403, `{"status":0}`, nil},
		{"acknowledge refused", ack, 400, `{"status":0}`, nil},
		{"acknowledge, 401", ack, 401, `{"status":0}`, pushover.ErrSessionRejected},
		{"acknowledge, 409", ack, 409, `{"status":0,"errors":["conflict, try again"]}`, pushover.ErrUnavailable},
		{"acknowledge, status 0 with 200", ack, 200, `{"status":0,"errors":["temporarily unavailable"]}`, pushover.ErrUnavailable},
		{"acknowledge, secret", ack, 400, `{"status":0,"secret":"invalid"}`, pushover.ErrSessionRejected},
		{"acknowledge, secret in words", ack, 400, `{"status":0,"errors":["Secret is invalid"]}`, pushover.ErrSessionRejected},
		{"rate limit without body", ack, 429, ``, pushover.ErrRateLimited},
		{"server error", ack, 502, `{"status":0}`, pushover.ErrUnavailable},
	} {
		err := answered(t, tc.status, nil, tc.body, tc.call)
		var e *pushover.APIError
		if !errors.As(err, &e) || e.HTTPStatus != tc.status {
			t.Errorf("%s: got %v, want an APIError with the status", tc.name, err)
		}
		for _, kind := range all {
			if got, want := errors.Is(err, kind), errors.Is(tc.want, kind); got != want {
				t.Errorf("%s: errors.Is(%v, %v) = %v, want %v", tc.name, err, kind, got, want)
			}
		}
		if got, want := pushover.Retryable(err), errors.Is(tc.want, pushover.ErrUnavailable) || errors.Is(tc.want, pushover.ErrRateLimited); got != want {
			t.Errorf("%s: Retryable = %v, want %v", tc.name, got, want)
		}
	}
}

// What mends a refused secret, a new login, does not mend a device.
func TestRefusalSaysWhichPartOfTheCredentials(t *testing.T) {
	for _, tc := range []struct {
		status   int
		body     string
		refused  string
		disabled bool
	}{
		{400, `{"status":0,"secret":"invalid","errors":["secret is invalid"]}`, pushover.RefusedSecret, false},
		{400, `{"status":0,"errors":{"secret":["is invalid"]}}`, pushover.RefusedSecret, false},
		{400, `{"status":0,"device_id":"invalid","errors":["device_id is invalid"]}`, pushover.RefusedDevice, false},
		{403, `{"status":0,"device_id":"invalid","errors":["device_id is disabled"]}`, pushover.RefusedDevice, true},
		{403, `{"status":0,"errors":{"device":["has been Disabled"]}}`, pushover.RefusedDevice, true},
		{403, `{"status":0,"errors":["disabled"]}`, "", false},
		{409, `{"status":0,"device_id":"invalid","errors":["device_id is disabled"]}`, "", false},
	} {
		var e *pushover.APIError
		if err := answered(t, tc.status, nil, tc.body, download); !errors.As(err, &e) {
			t.Errorf("%s: got %v, want an APIError", tc.body, err)
		} else if e.Refused() != tc.refused || e.Disabled() != tc.disabled {
			t.Errorf("%d %s: got Refused %q, Disabled %v, want %q, %v", tc.status, tc.body, e.Refused(), e.Disabled(), tc.refused, tc.disabled)
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": time.Minute, "120": 2 * time.Minute, " 90 ": 90 * time.Second, "5": time.Minute, "-5": time.Minute,
		"soon": time.Minute, "1.5": time.Minute, "999999999999999999999": time.Minute, "99999999": 24 * time.Hour,
		"Sat, 01 Jan 2000 00:10:00 GMT": 10 * time.Minute, "Fri, 31 Dec 1999 23:00:00 GMT": time.Minute,
	} {
		err := answered(t, 429, http.Header{"Retry-After": {in}}, `{"status":0}`, download) // it is 2000-01-01 in a bubble
		if got := pushover.RetryAfter(err); got != want {
			t.Errorf("Retry-After %q: got %s, want %s", in, got, want)
		}
	}
}

// Our clock may be wrong by hours, the service's answer says what time it is there.
func TestRetryAfterDateIsTakenAgainstTheAnswersOwn(t *testing.T) {
	for date, want := range map[string]time.Duration{
		"Thu, 26 Nov 2026 12:00:00 GMT": 10 * time.Minute, // ours is in 2000
		"Thu, 26 Nov 2026 12:10:00 GMT": 5 * time.Second,
		"":                              time.Hour, // then it is ours that counts, and it is years behind
	} {
		err := answered(t, 503, http.Header{"Retry-After": {"Thu, 26 Nov 2026 12:10:00 GMT"}, "Date": {date}}, `{"status":0}`, download)
		if got := pushover.RetryAfter(err); got != want {
			t.Errorf("at %q: got %s, want %s", date, got, want)
		}
	}
}

// A proxy may ask for anything. It does not close the service for a day.
func TestRetryAfterOfAFailureIsAnHourAtMost(t *testing.T) {
	for _, asked := range []string{"86400", "9999999999", "Fri, 31 Dec 2100 00:00:00 GMT"} {
		err := answered(t, 503, http.Header{"Retry-After": {asked}}, "<html>", download)
		if got := pushover.RetryAfter(err); got != time.Hour {
			t.Errorf("Retry-After %q: got %s, want an hour", asked, got)
		}
	}
}

func TestRetryability(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 0}, {errors.New("x"), 0}, {context.Canceled, 0}, {pushover.ErrTooLarge, 0}, {pushover.ErrStalled, 0},
		{pushover.ErrLoginNeeded, 0}, {pushover.ErrTakenOver, 0}, {pushover.ErrSessionRejected, 0},
		{pushover.ErrSilent, 5 * time.Second}, {&pushover.CloseError{Code: 1001}, 5 * time.Second},
		{pushover.ErrUnavailable, 5 * time.Second}, {pushover.ErrRateLimited, time.Minute},
		{fmt.Errorf("sync: %w", &pushover.APIError{HTTPStatus: 503}), 5 * time.Second},
		{&pushover.APIError{HTTPStatus: 503, RetryAfter: time.Hour}, time.Hour},
		{&pushover.APIError{HTTPStatus: 429}, time.Minute}, {&pushover.APIError{HTTPStatus: 400}, 0},
	} {
		if got := pushover.RetryAfter(tc.err); got != tc.want || pushover.Retryable(tc.err) != (tc.want != 0) {
			t.Errorf("%v: got RetryAfter %s, Retryable %v, want %s", tc.err, got, pushover.Retryable(tc.err), tc.want)
		}
	}
}

// FuzzErrorBody feeds answers of any kind: they must become an error, without a
// panic, and never one that repeats a secret.
func FuzzErrorBody(f *testing.F) {
	for _, seed := range []string{
		`{"status":0,"request":"7c0a","secret":"invalid","errors":["secret is invalid"]}`,
		`{"errors":{"name":["has already been taken"]},"status":0,"request":"x"}`, `{"status":0,"errors":{},"message":"too many"}`,
		`<html>`, ``, `[]`, `null`, `{"status":1}`, `{"status":"0","errors":"x"}`, `{"status":0,"errors":[["x"],{"a":null}]}`,
	} {
		f.Add(400, []byte(seed))
		f.Add(200, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 || status == 204 || status == 304 {
			return
		}
		err := answered(t, status, nil, string(body)+someCredentials.Secret.Reveal(), download)
		if err == nil {
			t.Error("got no error")
		}
		for _, text := range unwrapped(err) {
			if strings.Contains(text, someCredentials.Secret.Reveal()) {
				t.Errorf("the secret is in %s", text)
			}
		}
	})
}
