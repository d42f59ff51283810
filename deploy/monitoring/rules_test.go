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
	partLabel  = regexp.MustCompile(`\bpart=~?\\?"([a-z|]+)\\?"`)
	alertName  = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
)

// parts are what has to work for an alarm to arrive.
var parts = []string{"session", "download", "bus", "publish", "clear", "commands", "store"}

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

func TestLabelsExist(t *testing.T) {
	var states []string
	for _, state := range connector.States() {
		states = append(states, string(state))
	}
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml", "dashboard.json"} {
		for _, label := range []struct {
			pattern *regexp.Regexp
			values  []string
		}{{stateLabel, states}, {partLabel, parts}} {
			for _, m := range label.pattern.FindAllStringSubmatch(read(t, file), -1) {
				for _, value := range strings.Split(m[1], "|") {
					if !slices.Contains(label.values, value) {
						t.Errorf("%s has %s, got %q, want one of %q", file, m[0], value, label.values)
					}
				}
			}
		}
	}
}

func TestEveryAlertIsTestedFiringAndSilent(t *testing.T) {
	rules, tests := read(t, "alerts.yaml"), read(t, "alerts_test.yaml")
	for _, m := range alertName.FindAllStringSubmatch(rules, -1) {
		for _, check := range []string{"exp_alerts: []", "exp_alerts:\n"} {
			pattern := regexp.MustCompile(`alertname: ` + m[1] + `\n +eval_time: \w+\n +` + regexp.QuoteMeta(check))
			if !pattern.MatchString(tests) {
				t.Errorf("%s has no test with %q", m[1], check)
			}
		}
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

// TestRulesWithPromtool checks the rules and runs their unit tests.
func TestRulesWithPromtool(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yaml")
	promtool(t, "test", "rules", "alerts_test.yaml")
}

// promtool runs Prometheus' own tool: PROMTOOL, or promtool on the PATH. Without
// it the test is skipped, or fails if PROMTOOL_REQUIRED=1.
func promtool(t *testing.T, args ...string) {
	t.Helper()
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
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
