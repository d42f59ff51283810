package tests

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

const chartDir = "../pushover-connector"

// release is how the chart is installed in a test.
type release struct {
	name, namespace string
	upgrade         bool
	kubeVersion     string // empty means the library's
}

func load(t testing.TB) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values parses values as a user would write them.
func values(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("values of the test: %v\n%s", err, text)
	}
	return v
}

// tryRender renders the chart, and returns the objects and the notes.
func tryRender(t testing.TB, r release, v map[string]any) (objects []object, notes string, err error) {
	t.Helper()
	return renderChart(t, load(t), r, v)
}

// renderChart renders a chart with those it depends on.
func renderChart(t testing.TB, c *chart.Chart, r release, v map[string]any) (objects []object, notes string, err error) {
	t.Helper()
	caps := common.DefaultCapabilities.Copy()
	if r.kubeVersion != "" {
		version, err := common.ParseKubeVersion(r.kubeVersion)
		if err != nil {
			t.Fatal(err)
		}
		caps.KubeVersion = *version
	}
	all, err := util.ToRenderValues(c, v, common.ReleaseOptions{
		Name: r.name, Namespace: r.namespace, Revision: 1, IsInstall: !r.upgrade, IsUpgrade: r.upgrade,
	}, caps)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Engine{Strict: false}.RenderWithContext(context.Background(), c, all)
	if err != nil {
		return nil, "", err
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(path, "NOTES.txt") {
			notes = files[path]
			continue
		}
		found, err := split(path, files[path])
		if err != nil {
			return nil, "", err
		}
		objects = append(objects, found...)
	}
	return objects, notes, nil
}

// render renders the chart with values in YAML as release "rel" in namespace
// "ns".
func render(t testing.TB, text string) []object {
	t.Helper()
	objects, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, text))
	if err != nil {
		t.Fatalf("render with\n%s\n%v", text, err)
	}
	return objects
}

// object is one rendered object.
type object struct {
	template string // its template, below templates/
	text     string
	fields   map[string]any
}

func split(path, content string) ([]object, error) {
	var objects []object
	for _, text := range strings.Split("\n"+content, "\n---") {
		text = strings.Trim(text, "\n")
		var fields map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &fields); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", path, err, text)
		}
		if len(fields) > 0 {
			_, template, _ := strings.Cut(path, "/templates/")
			objects = append(objects, object{template, text + "\n", fields})
		}
	}
	return objects, nil
}

func (o object) kind() string { return fmt.Sprint(o.fields["kind"]) }
func (o object) name() string { return fmt.Sprint(at(o.fields, "metadata.name")) }

// at returns what a path of keys and indices leads to, nil if it leads nowhere.
func at(v any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i := 0
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// find returns the object of a kind; there must be one, beside those of "helm
// test".
func find(t testing.TB, objects []object, kind string) object {
	t.Helper()
	var found []object
	for _, o := range objects {
		if o.kind() == kind && !strings.HasPrefix(o.template, "tests/") {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d objects of kind %s, want 1", len(found), kind)
	}
	return found[0]
}

func has(objects []object, kind string) bool {
	return slices.ContainsFunc(objects, func(o object) bool { return o.kind() == kind })
}

// podSpec is the pod of the Deployment.
func podSpec(t testing.TB, objects []object) map[string]any {
	t.Helper()
	spec, ok := at(find(t, objects, "Deployment").fields, "spec.template.spec").(map[string]any)
	if !ok {
		t.Fatal("the Deployment has no pod")
	}
	return spec
}

// env is the connector's environment: values, or "secret/key".
func env(t testing.TB, objects []object) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, _ := at(podSpec(t, objects), "containers.0.env").([]any)
	for _, e := range list {
		name := fmt.Sprint(at(e, "name"))
		if _, twice := all[name]; twice {
			t.Errorf("variable %s is set twice", name)
		}
		if ref := at(e, "valueFrom.secretKeyRef"); ref != nil {
			all[name] = fmt.Sprintf("%v/%v", at(ref, "name"), at(ref, "key"))
			continue
		}
		all[name] = fmt.Sprint(at(e, "value"))
	}
	return all
}

// compare compares a generated file, or writes it with -update.
func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what the chart makes now; look at the difference and run 'go test . -update' in helm/tests\n%s",
			path, firstDifference(string(want), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		lw, lg := "(end)", "(end)"
		if i < len(w) {
			lw = w[i]
		}
		if i < len(g) {
			lg = g[i]
		}
		if lw != lg {
			return fmt.Sprintf("line %d:\n  got  %s\n  want %s", i+1, lg, lw)
		}
	}
	return "only line ends differ"
}
