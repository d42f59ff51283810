package pushovertest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Device is what a client keeps after its setup: the credentials of a
// registered device.
type Device struct{ Name, Secret, ID string }

type device struct {
	id, name string
	account  *account
	disabled bool
	queue    []queued // ascending by id
	listed   []string // ids of the first of queue, as many as were asked for
	stream   *stream  // the live one, or nil
	logins   int

	cleared int64 // the highest id that was deleted through, or that retention took

	credit int         // downloads there was a reason for
	polls  []time.Time // downloads without one, of the last hour
}

// AddDevice registers a device on the first account, with a session of its
// own and the welcome message already gone. It panics if the name breaks the
// rules or is taken: that is a mistake in the test.
func (s *Server) AddDevice(name string) Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.bump()
	a := s.accounts[0]
	if err := a.nameProblem(name); err != "" {
		panic(fmt.Sprintf("pushovertest: device name %q %s", name, err))
	}
	se := s.newSession(a)
	d := s.register(se, name)
	return Device{Name: d.name, Secret: se.secret, ID: d.id}
}

// DisableDevice switches a device of any account off, as the dashboard or a
// lapsed licence does, or on again. A disabled device's stream gets 'E'.
func (s *Server) DisableDevice(name string, disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.named(name) {
		d.disabled = disabled
		if !disabled {
			s.manners.forgive()
		}
		s.enforce(d)
	}
	s.bump()
}

// RemoveDevice deletes a device, its queue and its name, as the dashboard
// does. Its stream gets 'E'.
func (s *Server) RemoveDevice(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.named(name) {
		delete(s.devices, d.id)
		d.account.devices = slices.DeleteFunc(d.account.devices, func(o *device) bool { return o == d })
		if d.stream != nil {
			d.stream.end('E')
		}
	}
	s.manners.forgive() // the name is free again
	s.bump()
}

// named lists the devices of that name in all accounts; "" names all.
func (s *Server) named(name string) []*device {
	var out []*device
	for _, a := range s.accounts {
		for _, d := range a.devices {
			if name == "" || d.name == name {
				out = append(out, d)
			}
		}
	}
	return out
}

// enforce ends the stream of a device that may not have one.
func (s *Server) enforce(d *device) {
	if d.stream != nil && !s.usable(d) {
		d.stream.end('E')
	}
}

// usable says whether the device is enabled and paid for, or on trial.
func (s *Server) usable(d *device) bool {
	return !d.disabled && d.account.active(time.Now(), s.opts.Trial)
}

func (s *Server) register(se *session, name string) *device {
	a := se.account
	if a.trial.IsZero() {
		a.trial = time.Now()
	}
	d := &device{id: randomText(40), name: name, account: a}
	se.device = d
	a.devices = append(a.devices, d)
	s.devices[d.id] = d
	return d
}

// nameProblem says what is wrong with a name for a new device, or "".
func (a *account) nameProblem(name string) string {
	if name == "" {
		return "can't be blank"
	}
	if len(name) > 25 {
		return "is too long (maximum is 25 characters)"
	}
	if !plainName(name) {
		return "may only contain letters, numbers, dashes and underscores"
	}
	for _, d := range a.devices {
		if d.name == name {
			return "has already been taken"
		}
	}
	return ""
}

func plainName(name string) bool {
	return name != "" && strings.Trim(name, alphanumerics+"_-") == ""
}

// registerDevice is POST devices.json.
func (s *Server) registerDevice(c *call) reply {
	se := s.sessions[c.params.Get("secret")]
	if se == nil {
		return s.refuseFields(http.StatusBadRequest, "secret", "is invalid")
	}
	if c.params.Get("os") != "O" {
		return s.refuseFields(http.StatusBadRequest, "os", "is invalid")
	}
	name := c.params.Get("name")
	if problem := se.account.nameProblem(name); problem != "" {
		return s.refuseFields(http.StatusBadRequest, "name", problem)
	}
	if len(se.account.devices) >= s.opts.MaxDevices {
		return s.answer(http.StatusBadRequest, map[string]any{
			"status":  0,
			"message": "you have too many devices, remove one first",
			"errors":  map[string]any{"base": []string{"too many devices"}},
		})
	}
	d := s.register(se, name)
	s.welcome(d)
	s.log.Info("device registered", "device", d.name)
	return s.success(map[string]any{"id": d.id})
}

// authorise finds the session and the device of a call, or answers why not.
func (s *Server) authorise(c *call, id string) (*device, *reply) {
	se := s.sessions[c.params.Get("secret")]
	if se == nil {
		r := s.refuse(http.StatusBadRequest, "secret", "is invalid")
		return nil, &r
	}
	d := s.devices[id]
	if d == nil || d.account != se.account {
		r := s.refuse(http.StatusBadRequest, "device_id", "is invalid")
		return nil, &r
	}
	if !s.usable(d) {
		r := s.refuse(http.StatusForbidden, "device_id", "is disabled")
		return nil, &r
	}
	se.device = d
	return d, nil
}
