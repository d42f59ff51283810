package monitoring

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/connector"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var (
	metricName = regexp.MustCompile(`pushover_connector_[a-z_]+`)
	stateLabel = regexp.MustCompile(`\bstate=~?\\?"([a-z_|]+)\\?"`)
	alertName  = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
	runbookRef = regexp.MustCompile(`(?m)^ +runbook_url: \S+/deploy/monitoring/RUNBOOK\.md#(\w+)$`)
)

// TestMetricsExist compares the metrics that rules and dashboard use with the
// list that the connector's own tests keep.
func TestMetricsExist(t *testing.T) {
	known := strings.Fields(read(t, "../../connector/testdata/metrics.golden"))
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml", "dashboard.json"} {
		used := metricName.FindAllString(read(t, file), -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metric", file)
		}
		slices.Sort(used)
		for _, name := range slices.Compact(used) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if b, ok := strings.CutSuffix(name, suffix); ok && slices.Contains(known, b) {
					base = b
				}
			}
			if !slices.Contains(known, base) {
				t.Errorf("%s uses %s, which does not exist", file, name)
			}
		}
	}
}

func TestDashboardShowsEveryMetric(t *testing.T) {
	dashboard := read(t, "dashboard.json")
	for _, name := range strings.Fields(read(t, "../../connector/testdata/metrics.golden")) {
		if !strings.Contains(dashboard, name) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func TestStatesExist(t *testing.T) {
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml"} {
		for _, m := range stateLabel.FindAllStringSubmatch(read(t, file), -1) {
			for _, state := range strings.Split(m[1], "|") {
				if !slices.Contains(connector.States(), connector.State(state)) {
					t.Errorf("%s names the state %q, which does not exist", file, state)
				}
			}
		}
	}
}

func TestEveryAlertHasARunbookParagraphAndATest(t *testing.T) {
	rules, tests, runbook := read(t, "alerts.yaml"), read(t, "alerts_test.yaml"), read(t, "RUNBOOK.md")
	alerts := alertName.FindAllStringSubmatch(rules, -1)
	references := runbookRef.FindAllStringSubmatch(rules, -1)
	if len(alerts) == 0 || len(alerts) != len(references) {
		t.Fatalf("got %d alerts and %d references to the runbook", len(alerts), len(references))
	}
	for i, m := range alerts {
		name := m[1]
		if references[i][1] != strings.ToLower(name) {
			t.Errorf("%s refers to #%s in the runbook", name, references[i][1])
		}
		_, paragraph, found := strings.Cut(runbook, "\n## "+name+"\n")
		if !found || strings.HasPrefix(strings.TrimSpace(paragraph), "##") {
			t.Errorf("the runbook has no paragraph on %s", name)
		}
		if strings.Count(tests, "alertname: "+name+"\n") < 2 {
			t.Errorf("%s is not tested both firing and silent", name)
		}
	}
	if got := strings.Count(runbook, "\n## "); got != len(alerts) {
		t.Errorf("the runbook has %d paragraphs for %d alerts", got, len(alerts))
	}
}

// TestChartHasTheSameFiles keeps the chart's copies, which a chart must have
// inside itself, from drifting.
func TestChartHasTheSameFiles(t *testing.T) {
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		copied, err := os.ReadFile("../../helm/pushover-connector/files/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(copied, []byte(read(t, file))) {
			t.Errorf("the chart's %s differs; copy deploy/monitoring/%s to helm/pushover-connector/files", file, file)
		}
	}
}

// TestRulesWithPromtool checks the rules and runs their unit tests with
// Prometheus' own tool: PROMTOOL, or promtool on the PATH. Without it the test
// is skipped, or fails if PROMTOOL_REQUIRED=1.
func TestRulesWithPromtool(t *testing.T) {
	tool := os.Getenv("PROMTOOL")
	if tool == "" {
		tool = "promtool"
	}
	path, err := exec.LookPath(tool)
	if err != nil {
		const howTo = "install Debian's package prometheus, or 'go install github.com/prometheus/prometheus/cmd/promtool@v0.305.0'"
		if os.Getenv("PROMTOOL_REQUIRED") == "1" {
			t.Fatalf("%v; %s", err, howTo)
		}
		t.Skipf("SKIPPED: %v; %s", err, howTo)
	}
	for _, args := range [][]string{
		{"check", "rules", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"},
	} {
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
