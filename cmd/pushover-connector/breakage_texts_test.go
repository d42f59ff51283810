package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// inLog reads the latest line about the part.
func (s *scene) inLog(part connector.Part) (connector.PartStatus, error) {
	var got connector.PartStatus
	for line := range strings.Lines(s.daemon.log.String()) {
		var l struct {
			Time     time.Time        `json:"time"`
			Message  string           `json:"msg"`
			Reason   connector.Reason `json:"reason"`
			Error    string           `json:"error"`
			Remedy   string           `json:"remedy"`
			Attempts int              `json:"attempts"`
			RetryIn  string           `json:"retry_in"`
			Failing  string           `json:"failing_for"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return got, fmt.Errorf("log line %s: %w", line, err)
		}
		halted := l.Message == string(part)+" halted"
		if !halted && l.Message != string(part)+" failed, retrying" {
			continue
		}
		failing := time.Duration(0) // the first line says nothing of it
		if l.Failing != "" {
			var err error
			if failing, err = time.ParseDuration(l.Failing); err != nil {
				return got, fmt.Errorf("log line %s: %w", line, err)
			}
		}
		if l.Error == "" {
			return got, fmt.Errorf("log line %s: want an error", line)
		}
		got = connector.PartStatus{
			Part: part, Reason: l.Reason, Remedy: l.Remedy, Since: l.Time.Add(-failing), Attempts: l.Attempts,
		}
		if !halted {
			wait, err := time.ParseDuration(l.RetryIn)
			if err != nil {
				return got, fmt.Errorf("log line %s: %w", line, err)
			}
			next := l.Time.Add(wait)
			got.NextAttempt = &next
		}
	}
	return got, nil
}

var pageCell = regexp.MustCompile(`(?s)<tr id="part-([a-z]+)" class="(failing|halted)">.*?Since"><time datetime="([^"]+)".*?<bdi>(.+?)</bdi></p>(.*?)<code>(\w+)</code> · (\d+) attempt(.*?)</tr>`)

func (s *scene) inPage(part connector.Part) (connector.PartStatus, error) {
	none := connector.PartStatus{}
	_, body, err := s.get("/")
	if err != nil {
		return none, err
	}
	if !strings.Contains(body, "<title>NOT READY: ") || !strings.Contains(body, "<strong>NOT READY:</strong>") {
		return none, errors.New("the page does not say NOT READY")
	}
	_, row, found := strings.Cut(body, `<tr id="part-`+string(part)+`" `)
	cell := pageCell.FindStringSubmatch(`<tr id="part-` + string(part) + `" ` + row)
	if !found || cell == nil || cell[1] != string(part) {
		return none, fmt.Errorf("the page does not say that %s fails", part)
	}
	got := connector.PartStatus{Part: part, Reason: connector.Reason(cell[6])}
	if got.Since, err = time.Parse(time.RFC3339, cell[3]); err != nil {
		return none, err
	}
	if got.Attempts, err = strconv.Atoi(cell[7]); err != nil {
		return none, err
	}
	if _, todo, ok := strings.Cut(cell[5], "What to do:</b> <bdi>"); ok {
		todo, _, _ = strings.Cut(todo, "</bdi>")
		got.Remedy = html.UnescapeString(todo)
	}
	if cell[2] == "failing" {
		_, next, _ := strings.Cut(cell[8], `datetime="`)
		next, _, _ = strings.Cut(next, `"`)
		at, err := time.Parse(time.RFC3339, next)
		if err != nil {
			return none, err
		}
		got.NextAttempt = &at
	}
	return got, nil
}

var statusLine = regexp.MustCompile(`(?m)^FAIL  ([a-z]+) +since ([0-9: -]+) \(.+?\), (\w+), failed attempts: (\d+)(, next in \w+ at [0-9: -]+)?$`)

// inStatus runs the status command.
func (s *scene) inStatus(part connector.Part) (connector.PartStatus, error) {
	none := connector.PartStatus{}
	text, code := s.run("status")
	verdict, _, _ := strings.Cut(text, "\n")
	if code != 1 || !strings.HasPrefix(verdict, "not ready: ") || !strings.Contains(verdict, string(part)) {
		return none, fmt.Errorf("status ends with code %d and says\n%s", code, text)
	}
	for _, at := range statusLine.FindAllStringSubmatchIndex(text, -1) {
		field := func(i int) string {
			if at[2*i] < 0 {
				return ""
			}
			return text[at[2*i]:at[2*i+1]]
		}
		if field(1) != string(part) {
			continue
		}
		since, err := time.ParseInLocation("2006-01-02 15:04:05", time.Now().Format(time.DateOnly)+" "+field(2), time.Local)
		if err != nil {
			return none, err
		}
		attempts, err := strconv.Atoi(field(4))
		if err != nil {
			return none, err
		}
		got := connector.PartStatus{Part: part, Reason: connector.Reason(field(3)), Since: since, Attempts: attempts}
		if field(5) != "" {
			got.NextAttempt = &since
		}
		// What follows, indented: the detail, and the remedy if there is one.
		for line := range strings.Lines(strings.TrimPrefix(text[at[1]:], "\n")) {
			if !strings.HasPrefix(line, "      ") {
				break
			}
			if remedy, ok := strings.CutPrefix(strings.TrimSpace(line), "to do: "); ok {
				got.Remedy = remedy
			}
		}
		return got, nil
	}
	return none, fmt.Errorf("status does not say that %s fails:\n%s", part, text)
}
