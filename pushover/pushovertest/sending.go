package pushovertest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// accept is POST messages.json, the sending side.
func (s *Server) accept(c *call) reply {
	app := s.apps[c.params.Get("token")]
	if app == nil {
		return s.refuse(http.StatusBadRequest, "token", "is invalid")
	}
	if app.owner.sent >= s.opts.MonthlyLimit {
		return s.withLimits(s.answer(http.StatusTooManyRequests, map[string]any{
			"status": 0, "token": "invalid",
			"errors": []string{fmt.Sprintf("application has exceeded current limit of %d messages", s.opts.MonthlyLimit)},
		}), app)
	}
	to, refusal := s.addressees(c.params.Get("user"))
	if refusal != nil {
		return *refusal
	}
	m, field, problem := c.outgoing()
	if name := c.params.Get("sound"); problem == "" && name != "" {
		if !plainName(name) || len(name) > 20 {
			field, problem = "sound", "is invalid"
		} else if s.sound(name).name == name { // else the device's default
			m.Sound = name
		}
	}
	if problem != "" {
		return s.withLimits(s.refuse(http.StatusBadRequest, field, problem), app)
	}
	m.app = app
	app.owner.sent++
	var r *receipt
	if m.Priority == 2 {
		r = s.newReceipt(m, to)
	}
	reached := 0
	for _, a := range to {
		reached += len(s.deliver(m, s.targets(a, m.Device), r).IDs)
	}
	s.log.Info("message accepted", "app", app.name, "priority", m.Priority)
	fields := map[string]any{}
	if r != nil {
		fields["receipt"] = r.id
	}
	if reached == 0 {
		fields["info"] = "no active devices to send to"
	}
	return s.withLimits(s.success(fields), app)
}

// withLimits adds the headers that tell a sender what is left of the month.
func (s *Server) withLimits(rep reply, app *application) reply {
	rep.header["X-Limit-App-Limit"] = strconv.Itoa(s.opts.MonthlyLimit)
	rep.header["X-Limit-App-Remaining"] = strconv.Itoa(max(0, s.opts.MonthlyLimit-app.owner.sent))
	rep.header["X-Limit-App-Reset"] = strconv.FormatInt(nextMonth(time.Now()).Unix(), 10)
	return rep
}

// limits is GET apps/limits.json.
func (s *Server) limits(c *call) reply {
	app := s.apps[c.params.Get("token")]
	if app == nil {
		return s.refuse(http.StatusBadRequest, "token", "is invalid")
	}
	return s.success(map[string]any{
		"limit": s.opts.MonthlyLimit, "remaining": max(0, s.opts.MonthlyLimit-app.owner.sent),
		"reset": nextMonth(time.Now()).Unix(),
	})
}

func nextMonth(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
}

// validateUser is POST users/validate.json.
func (s *Server) validateUser(c *call) reply {
	if s.apps[c.params.Get("token")] == nil {
		return s.refuse(http.StatusBadRequest, "token", "is invalid")
	}
	key := c.params.Get("user")
	to, refusal := s.addressees(key)
	if refusal != nil {
		return *refusal
	}
	names, licences := []string{}, []string{}
	for _, a := range to {
		for _, d := range s.targets(a, "") {
			names = append(names, d.name)
		}
		if a.licensed {
			licences = []string{"Desktop"}
		}
	}
	if len(names) == 0 {
		return s.refuse(http.StatusBadRequest, "user", "is valid but has no active devices")
	}
	if want := c.params.Get("device"); want != "" {
		if !slices.Contains(names, want) {
			return s.refuse(http.StatusBadRequest, "device", "is not a device of this user")
		}
	}
	group := 0
	if _, ok := s.groups[key]; ok {
		group = 1
	}
	return s.success(map[string]any{"group": group, "devices": names, "licenses": licences})
}
