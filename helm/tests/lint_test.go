package tests

import (
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// TestLintStrict is "helm lint --strict": neither errors nor warnings, with the
// defaults and with every file of values in ci/.
func TestLintStrict(t *testing.T) {
	check := func(t *testing.T, v map[string]any) {
		t.Helper()
		for _, m := range lint.RunAll(chartDir, v, "ns").Messages {
			if m.Severity >= support.WarningSev {
				t.Error(m)
			}
		}
	}
	t.Run("defaults", func(t *testing.T) { check(t, nil) })
	for name, v := range ciValues(t) {
		t.Run(name, func(t *testing.T) { check(t, v) })
	}
}
