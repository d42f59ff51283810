package connector

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

var (
	//go:embed statuspage.html
	pageSource string

	//go:embed statuspage.css
	pageStyle string

	//go:embed statuspage.js
	pageScript string

	pageTemplate = template.Must(template.New("page").Parse(pageSource))

	// pagePolicy names the style and the script by their hashes: nothing else that
	// might get into the page is applied or run.
	pagePolicy = strings.Join([]string{
		"default-src 'none'", "style-src '" + hashOf(pageStyle) + "'", "script-src '" + hashOf(pageScript) + "'",
		"connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
)

func hashOf(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

const (
	runbook = "https://github.com/pushover-connector/pushover-connector/blob/main/deploy/monitoring/RUNBOOK.md"

	// maxShownEmergencies bounds the page: a flood of emergencies is not read one
	// by one.
	maxShownEmergencies = 50
)

// A page is a [Status] as the status page shows it.
type page struct {
	Status
	MoreEmergencies int // outstanding and left out
	now             time.Time
}

func newPage(s Status, now time.Time) page {
	p := page{Status: s, now: now}
	if n := len(s.Emergencies.Outstanding); n > maxShownEmergencies {
		p.Emergencies.Outstanding = s.Emergencies.Outstanding[:maxShownEmergencies]
		p.MoreEmergencies = n - maxShownEmergencies
	}
	return p
}

// html renders the template called "page", which is all of it, or "live", which
// is what changes: title, icon and main.
func (p page) html(name string) ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplate.ExecuteTemplate(&b, name, p); err != nil {
		return nil, fmt.Errorf("render the status page: %w", err)
	}
	return b.Bytes(), nil
}

// Style, Script and Assets are the page's own. Assets changes with them, so that
// a page that was loaded from an older version loads itself again.
func (p page) Style() template.CSS { return template.CSS(pageStyle) }
func (p page) Script() template.JS { return template.JS(pageScript) }
func (p page) Assets() string      { return hashOf(pageStyle + pageScript) }
func (p page) Runbook() string     { return runbook }

// looks are how a part can look, each worse than the one before.
var looks = []string{"ok", "starting", "failing", "halted"}

// Look is how a part looks: "halted" means that it waits for a person.
func (p page) Look(part PartStatus) string {
	switch {
	case part.OK:
		return "ok"
	case part.Reason == ReasonStarting:
		return "starting"
	case part.NextAttempt != nil:
		return "failing"
	default:
		return "halted"
	}
}

// Worst is the part that looks worst. Of several it is the first that an alarm
// meets.
func (p page) Worst() PartStatus {
	worst := PartStatus{OK: true}
	for _, part := range p.Parts {
		if slices.Index(looks, p.Look(part)) > slices.Index(looks, p.Look(worst)) {
			worst = part
		}
	}
	return worst
}

// Verdict is the look of the worst part, where "ok" means ready, or "stopped".
func (p page) Verdict() string {
	if p.State == StateStopped {
		return "stopped"
	}
	return p.Look(p.Worst())
}

// Others names the parts that are not ok besides the worst. Those that are only
// starting count if all of them are.
func (p page) Others() string {
	var names []string
	worst := p.Worst()
	for _, part := range p.Parts {
		counts := p.Look(part) != "starting" || p.Look(worst) == "starting"
		if !part.OK && part.Part != worst.Part && counts {
			names = append(names, string(part.Part))
		}
	}
	return strings.Join(names, ", ")
}

// Downloading is false while the queue is known from earlier only.
func (p page) Downloading() bool { return p.part(PartDownload).OK }

// Unlicensed reports whether the account is known to have no licence.
func (p page) Unlicensed() bool { return p.Licence.Desktop != nil && !*p.Licence.Desktop }

// Icon is the favicon: its shape says as much as its colour.
func (p page) Icon() template.URL {
	shapes := map[string]string{
		"ok":       `<circle cx='8' cy='8' r='8' fill='%231a7f37'/><path d='M4 8.5l3 3 5-6' fill='none' stroke='%23fff' stroke-width='2'/>`,
		"starting": `<circle cx='8' cy='8' r='6.5' fill='none' stroke='%230969da' stroke-width='3' stroke-dasharray='5 3'/>`,
		"failing":  `<path d='M8 0l8 15H0z' fill='%23cf222e'/><path d='M8 5v5m0 2v2' stroke='%23fff' stroke-width='2'/>`,
	}
	shape, known := shapes[p.Verdict()]
	if !known {
		shape = shapes["failing"]
	}
	return template.URL("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>" + shape + "</svg>")
}

// Does says what a part is for.
func (p page) Does(name Part) string {
	return map[Part]string{
		PartSession:  "login and push stream",
		PartDownload: "reading the queue at Pushover",
		PartBus:      "connection to the bus",
		PartPublish:  "writing events",
		PartClear:    "deleting published messages from Pushover",
		PartCommands: "carrying out commands",
		PartStore:    "disk of the embedded server",
	}[name]
}

// Survives says what a grade of durability means.
func (p page) Survives(grade string) string {
	return map[string]string{
		GradePower.String():   "an event survives a power cut",
		GradeCrash.String():   "an event survives a crash of the broker, perhaps not a power cut",
		GradeProcess.String(): "an event is lost when the broker stops",
		GradeNone.String():    "nothing is kept",
	}[grade]
}

// AckLine is the command that acknowledges an emergency. It is "" for a receipt
// that does not look like one: the line is meant to be pasted into a shell.
func (p page) AckLine(e Emergency) string {
	if _, err := pushover.ParseReceipt(e.Receipt); err != nil {
		return ""
	}
	return "pushover-connector ack " + e.Receipt
}
