package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A notice is a message to send, as any Pushover sender would.
type notice struct {
	priority       int
	name           string // of the priority
	title, message string
}

var notices = []notice{
	{-1, "low", "Backup", "42 files copied to nas-1"},
	{0, "normal", "Front door", "Somebody is at the door"},
	{1, "high", "Disk", "/var is 95 % full"},
	{2, "emergency", "Cellar", "Water on the floor!"},
}

// tour sends, receives, acknowledges and looks at the server's queue.
func tour(ctx context.Context, s *screen, st *stage) error {
	s.heading("Sent through Pushover's sending API")
	var receipt string
	for _, n := range notices {
		r, err := send(ctx, st, n)
		if err != nil {
			return fmt.Errorf("send %q: %w", n.title, err)
		}
		if r != "" {
			receipt = r
		}
		s.sent(n)
	}

	s.heading("Received by an ordinary NATS subscriber, as CloudEvents")
	for _, n := range notices {
		e, err := st.next(ctx)
		if err != nil {
			return fmt.Errorf("wait for %q: %w", n.title, err)
		}
		if e.Data.Message != n.message || e.Data.PriorityName != n.name {
			return fmt.Errorf("event %s is %q of priority %s, want %q of priority %s",
				e.ID, e.Data.Message, e.Data.PriorityName, n.message, n.name)
		}
		s.received(e)
	}

	s.heading("The emergency is acknowledged from the bus")
	s.step("command", "published to pushover.control.ack")
	if err := st.subscriber.Publish("pushover.control.ack", []byte(receipt)); err != nil {
		return fmt.Errorf("publish the acknowledge command: %w", err)
	}
	result, err := st.next(ctx)
	if err != nil {
		return fmt.Errorf("wait for the result: %w", err)
	}
	if result.Data.Receipt != receipt || result.Data.Status != "acknowledged" {
		return fmt.Errorf("the result on %s is %q %s", result.subject, result.Data.Status, result.Data.Reason)
	}
	s.step("result", "arrived on "+result.subject)
	by, err := acknowledgedBy(ctx, st, receipt)
	if err != nil {
		return err
	}
	s.step("sender", "sees it acknowledged by device \""+by+"\"")

	s.heading("Pushover's server afterwards")
	return aftermath(ctx, s, st)
}

// aftermath waits until the queue is empty and checks that the simulator has
// nothing to complain about.
func aftermath(ctx context.Context, s *screen, st *stage) error {
	err := st.simulator.Wait(ctx, func(pushovertest.State) bool { return st.simulator.Waiting(deviceName) == 0 })
	if err != nil {
		return fmt.Errorf("%d messages are left in the queue: %w", st.simulator.Waiting(deviceName), err)
	}
	s.step("queue", "empty: deleted only after the bus had confirmed")
	if v := st.simulator.Violations(); len(v) > 0 {
		return fmt.Errorf("the simulator complains about %d violations of manners, the first: %s: %s", len(v), v[0].Rule, v[0].Detail)
	}
	s.step("manners", "no violations")
	return nil
}

// send posts one message to the sending API and returns its receipt, if it is
// an emergency.
func send(ctx context.Context, st *stage, n notice) (receipt string, err error) {
	form := url.Values{
		"token": {st.simulator.Account().AppToken}, "user": {st.simulator.Account().UserKey},
		"title": {n.title}, "message": {n.message}, "priority": {strconv.Itoa(n.priority)},
	}
	if n.priority == 2 {
		form.Set("retry", "60")
		form.Set("expire", "3600")
	}
	var answer struct {
		Status  int      `json:"status"`
		Receipt string   `json:"receipt"`
		Errors  []string `json:"errors"`
	}
	if err := call(ctx, http.MethodPost, st.simulator.APIURL()+"/1/messages.json", form, &answer); err != nil {
		return "", err
	}
	if answer.Status != 1 {
		return "", errors.New(strings.Join(answer.Errors, "; "))
	}
	return answer.Receipt, nil
}

// acknowledgedBy asks as the sender of the message would.
func acknowledgedBy(ctx context.Context, st *stage, receipt string) (device string, err error) {
	var answer struct {
		Acknowledged         int    `json:"acknowledged"`
		AcknowledgedByDevice string `json:"acknowledged_by_device"`
	}
	address := st.simulator.APIURL() + "/1/receipts/" + receipt + ".json?token=" + st.simulator.Account().AppToken
	if err := call(ctx, http.MethodGet, address, nil, &answer); err != nil {
		return "", err
	}
	if answer.Acknowledged != 1 {
		return "", errors.New("the sender does not see the emergency acknowledged")
	}
	return answer.AcknowledgedByDevice, nil
}

func call(ctx context.Context, method, address string, form url.Values, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "pushover-demo")
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// An arrival is an event as the subscriber sees it.
type arrival struct {
	subject string
	ID      string `json:"id"`
	Data    struct {
		Title        string `json:"title"`
		Message      string `json:"message"`
		PriorityName string `json:"priority_name"`
		Receipt      string `json:"receipt"`
		Status       string `json:"status"`
		Reason       string `json:"reason"`
	} `json:"data"`
}

// next waits for the subscriber's next event.
func (st *stage) next(ctx context.Context) (arrival, error) {
	select {
	case <-ctx.Done():
		return arrival{}, fmt.Errorf("it did not arrive: %w", ctx.Err())
	case err := <-st.failed:
		return arrival{}, err
	case m := <-st.events:
		a := arrival{subject: m.Subject}
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return a, fmt.Errorf("event on %s is not JSON: %w", m.Subject, err)
		}
		return a, nil
	}
}
