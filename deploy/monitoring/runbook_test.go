package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	runbookURL  = regexp.MustCompile(`(?m)^ +runbook_url: \S+/deploy/monitoring/RUNBOOK\.md#(.+)$`)
	insideLink  = regexp.MustCompile(`\]\(#([^)]+)\)`)
	inHeading   = regexp.MustCompile(`[^a-z0-9 _-]`)
	everyReason = []string{
		"network", "dns", "tls", "timeout", "server_error", "rate_limited", "refused_secret", "refused_device",
		"unlicensed", "disabled", "taken_over", "fenced", "malformed_answer", "bus_unreachable", "bus_auth",
		"bus_refused", "bus_full", "bus_misconfigured", "disk_full", "starting", "unexpected",
	}
)

// paragraphs returns the runbook's paragraphs by the anchors that GitHub gives
// their headings.
func paragraphs(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, section := range strings.Split(read(t, "RUNBOOK.md"), "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		if strings.TrimSpace(text) == "" {
			t.Errorf("the runbook's paragraph %q is empty", heading)
		}
		anchor := strings.ReplaceAll(inHeading.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
		out[anchor] = text
	}
	return out
}

func TestEveryAlertHasARunbookParagraph(t *testing.T) {
	runbook, used := paragraphs(t), map[string]bool{}
	for _, rule := range strings.Split(read(t, "alerts.yaml"), "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		url := runbookURL.FindStringSubmatch(rule)
		if url == nil {
			t.Errorf("%s does not link to the runbook", name)
			continue
		}
		anchors := []string{url[1]}
		if prefix, ok := strings.CutSuffix(url[1], "{{ $labels.part }}"); ok {
			anchors = nil
			for _, part := range strings.Split(partLabel.FindStringSubmatch(rule)[1], "|") {
				anchors = append(anchors, prefix+part)
			}
		}
		for _, anchor := range anchors {
			text, found := runbook[anchor]
			if !found {
				t.Errorf("%s links to #%s, which is not in the runbook", name, anchor)
			} else if anchor != strings.ToLower(name) && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("the runbook's paragraph %s does not name %s, which links to it", anchor, name)
			}
			used[anchor] = true
		}
	}
	for _, m := range insideLink.FindAllStringSubmatch(read(t, "RUNBOOK.md"), -1) {
		if _, found := runbook[m[1]]; !found {
			t.Errorf("the runbook links to #%s, which is not in it", m[1])
		}
		used[m[1]] = true
	}
	for anchor := range runbook {
		if !used[anchor] {
			t.Errorf("nothing leads to the runbook's paragraph %s", anchor)
		}
	}
}

// TestRunbookHasEveryPart checks the anchors that the status page links to, and
// that each reason is explained with some part.
func TestRunbookHasEveryPart(t *testing.T) {
	runbook, anchors := paragraphs(t), []string{"reaching-pushover"}
	for _, part := range parts {
		anchors = append(anchors, "part-"+part)
	}
	var explained []string
	for _, anchor := range anchors {
		text, found := runbook[anchor]
		if !found {
			t.Errorf("the runbook has no paragraph %s", anchor)
		}
		for _, row := range regexp.MustCompile("(?m)^\\| (`.*`) \\|").FindAllStringSubmatch(text, -1) {
			for _, reason := range strings.Split(row[1], ", ") {
				explained = append(explained, strings.Trim(reason, "`"))
			}
		}
	}
	slices.Sort(explained)
	explained = slices.Compact(explained)
	want := slices.Sorted(slices.Values(everyReason))
	if !slices.Equal(explained, want) {
		t.Errorf("the runbook explains the reasons\n got %q\nwant %q", explained, want)
	}
}
