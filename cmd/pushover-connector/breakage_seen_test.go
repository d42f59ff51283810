package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// surfaces are all places where an operator, or an alert rule, sees that a part
// fails. Each says the part, the reason, since when, and the failed attempts; all
// but the metrics, from which the alerts are made, say the next attempt or the remedy.
var surfaces = []struct {
	name string
	read func(*scene, connector.Part) (connector.PartStatus, error)

	since time.Duration // how precisely it says since when
}{
	{"log", (*scene).inLog, 2 * time.Second},
	{"readyz", (*scene).inReadyz, 0},
	{"page", (*scene).inPage, time.Second},
	{"status", (*scene).inStatus, time.Second},
	{"metric", (*scene).inMetrics, time.Millisecond},
}

// agrees reads the part on a surface. The account as such, /status.json, is read
// before and after, since it changes while it is read.
func (s *scene) agrees(surface int, part connector.Part, reason connector.Reason) error {
	before, err := s.account(part)
	if err != nil {
		return err
	}
	got, err := surfaces[surface].read(s, part)
	if err != nil {
		return err
	}
	after, err := s.account(part)
	if err != nil {
		return err
	}
	name := surfaces[surface].name
	switch {
	case before.OK || before.Reason != reason || before.Reason != after.Reason || !before.Since.Equal(after.Since):
		return fmt.Errorf("/status.json says %+v, then %+v; want reason %s", before, after, reason)
	case (before.NextAttempt == nil) != (after.NextAttempt == nil):
		return errors.New("it is just being halted")
	case before.NextAttempt == nil && before.Remedy == "":
		return fmt.Errorf("%s waits for a person, and has no remedy", part)
	case name == "metric":
		got.Reason, got.NextAttempt, got.Remedy = before.Reason, before.NextAttempt, before.Remedy
	}
	early, late := before.Since.Add(-surfaces[surface].since), before.Since.Add(surfaces[surface].since)
	switch {
	case got.Reason != reason, got.Since.Before(early), got.Since.After(late),
		got.Remedy != before.Remedy && got.Remedy != after.Remedy,
		(got.NextAttempt == nil) != (before.NextAttempt == nil),
		name != "log" && (got.Attempts < before.Attempts || got.Attempts > after.Attempts),
		name == "log" && got.Attempts > after.Attempts: // it says so once, and then every few minutes
		return fmt.Errorf("%s says %+v, want as in /status.json: %+v", name, got, before)
	}
	return nil
}

// account is what /status.json says of a part.
func (s *scene) account(part connector.Part) (connector.PartStatus, error) {
	var status connector.Status
	_, body, err := s.get("/status.json")
	if err == nil {
		err = json.Unmarshal([]byte(body), &status)
	}
	return partOf(status.Parts, part), err
}

func partOf(parts []connector.PartStatus, name connector.Part) connector.PartStatus {
	for _, p := range parts {
		if p.Part == name {
			return p
		}
	}
	return connector.PartStatus{Part: name, OK: true}
}

func (s *scene) get(path string) (int, string, error) {
	response, err := http.Get("http://" + s.http + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func (s *scene) inReadyz(part connector.Part) (connector.PartStatus, error) {
	code, body, err := s.get("/readyz")
	if err != nil {
		return connector.PartStatus{}, err
	}
	var answer struct{ Parts []connector.PartStatus }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != http.StatusServiceUnavailable {
		return connector.PartStatus{}, fmt.Errorf("/readyz answers %d, %w", code, err)
	}
	return partOf(answer.Parts, part), nil
}

func (s *scene) inMetrics(part connector.Part) (connector.PartStatus, error) {
	none := connector.PartStatus{}
	_, body, err := s.get("/metrics")
	if err != nil {
		return none, err
	}
	value := func(name string) float64 {
		prefix := fmt.Sprintf("pushover_connector_%s{part=%q} ", name, part)
		for line := range strings.Lines(body) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
				v, parsing := strconv.ParseFloat(text, 64)
				err = errors.Join(err, parsing)
				return v
			}
		}
		err = errors.Join(err, fmt.Errorf("there is no metric %s", prefix))
		return 0
	}
	if up := value("part_up"); up != 0 {
		return none, fmt.Errorf("part_up is %v", up)
	}
	since := time.UnixMilli(int64(value("part_failing_since_timestamp_seconds") * 1000))
	return connector.PartStatus{Part: part, Since: since, Attempts: int(value("part_attempts"))}, err
}

// run runs a command of the program with the connector's settings, and returns
// its output and exit code.
func (s *scene) run(args ...string) (string, int) {
	s.t.Helper()
	cmd := s.program(s.settings, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if out.Len() == 0 {
		return stderr.String(), cmd.ProcessState.ExitCode()
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
