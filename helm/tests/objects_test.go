package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// verticalPodAutoscaler has the fields that the chart uses of a type whose
// module is not worth its weight.
type verticalPodAutoscaler struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		TargetRef    autoscalingv1.CrossVersionObjectReference `json:"targetRef"`
		UpdatePolicy struct {
			UpdateMode  string `json:"updateMode"`
			MinReplicas int    `json:"minReplicas"`
		} `json:"updatePolicy"`
		ResourcePolicy struct {
			ContainerPolicies []struct {
				ContainerName string              `json:"containerName"`
				MinAllowed    corev1.ResourceList `json:"minAllowed"`
				MaxAllowed    corev1.ResourceList `json:"maxAllowed"`
			} `json:"containerPolicies"`
		} `json:"resourcePolicy"`
	} `json:"spec"`
}

// typeOf returns a new value of the type that an object must decode into.
func typeOf(o object) any {
	switch fmt.Sprintf("%v/%v", o.fields["apiVersion"], o.kind()) {
	case "apps/v1/Deployment":
		return &appsv1.Deployment{}
	case "v1/Service":
		return &corev1.Service{}
	case "v1/ServiceAccount":
		return &corev1.ServiceAccount{}
	case "v1/Secret":
		return &corev1.Secret{}
	case "v1/ConfigMap":
		return &corev1.ConfigMap{}
	case "v1/PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}
	case "v1/Pod":
		return &corev1.Pod{}
	case "networking.k8s.io/v1/NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "policy/v1/PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "monitoring.coreos.com/v1/ServiceMonitor":
		return &monitoring.ServiceMonitor{}
	case "monitoring.coreos.com/v1/PodMonitor":
		return &monitoring.PodMonitor{}
	case "monitoring.coreos.com/v1/PrometheusRule":
		return &monitoring.PrometheusRule{}
	case "autoscaling.k8s.io/v1/VerticalPodAutoscaler":
		return &verticalPodAutoscaler{}
	default:
		return nil
	}
}

// decode decodes an object strictly: no unknown, misspelt or repeated field.
func decode(t testing.TB, o object, into any) {
	t.Helper()
	raw, err := yaml.YAMLToJSONStrict([]byte(o.text))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := json.UnmarshalStrict(raw, into)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", o.kind(), o.name(), err, o.text)
	}
	for _, p := range problems {
		t.Errorf("%s %s: %v", o.kind(), o.name(), p)
	}
}

// checkObjects checks what must hold of whatever the chart renders.
func checkObjects(t *testing.T, objects []object) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range objects {
		id := o.kind() + " " + o.name()
		if seen[id] {
			t.Errorf("%s is rendered twice", id)
		}
		seen[id] = true
		into := typeOf(o)
		if into == nil {
			if o.template != "extraobjects.yaml" {
				t.Errorf("%s: no type to decode %v into", o.template, o.fields["apiVersion"])
			}
			continue
		}
		decode(t, o, into)
		checkMetadata(t, o)
		switch x := into.(type) {
		case *appsv1.Deployment:
			checkPod(t, id, x.Spec.Template.Labels, x.Spec.Template.Spec)
			if !selects(x.Spec.Selector.MatchLabels, x.Spec.Template.Labels) {
				t.Errorf("%s does not select its own pod", id)
			}
		case *corev1.Pod:
			checkPod(t, id, x.Labels, x.Spec)
		}
	}
}

func checkMetadata(t *testing.T, o object) {
	t.Helper()
	var m metav1.PartialObjectMetadata
	if err := yaml.Unmarshal([]byte(o.text), &m); err != nil {
		t.Fatal(err)
	}
	for _, p := range validation.IsDNS1123Subdomain(m.Name) {
		t.Errorf("%s %q: %s", o.kind(), m.Name, p)
	}
	for _, p := range metavalidation.ValidateLabels(m.Labels, field.NewPath("labels")) {
		t.Errorf("%s %s: %v", o.kind(), m.Name, p)
	}
	if m.Namespace == "" {
		t.Errorf("%s %s has no namespace", o.kind(), m.Name)
	}
	if o.template != "extraobjects.yaml" && m.Labels["app.kubernetes.io/instance"] != "rel" {
		t.Errorf("%s %s lacks the common labels", o.kind(), m.Name)
	}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// checkPod checks that mounts have volumes and the connector's container its
// essentials.
func checkPod(t *testing.T, id string, labels map[string]string, spec corev1.PodSpec) {
	t.Helper()
	var volumes []string
	for _, v := range spec.Volumes {
		volumes = append(volumes, v.Name)
		if v.Projected == nil {
			continue
		}
		paths := map[string]bool{}
		for _, s := range v.Projected.Sources {
			for _, item := range sourceItems(s) {
				if paths[item.Path] {
					t.Errorf("%s: two sources write %s", id, item.Path)
				}
				paths[item.Path] = true
			}
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if c.Image == "" {
			t.Errorf("%s: container %s has no image", id, c.Name)
		}
		for _, m := range c.VolumeMounts {
			if !slices.Contains(volumes, m.Name) {
				t.Errorf("%s: container %s mounts %s, which is not a volume", id, c.Name, m.Name)
			}
			if m.SubPath != "" && strings.HasPrefix(m.MountPath, "/etc/pushover-connector") {
				t.Errorf("%s: %s is mounted by subPath, so that a changed Secret would not arrive", id, m.MountPath)
			}
		}
	}
	if labels["app.kubernetes.io/component"] == "" {
		t.Errorf("%s: the pod has no component label", id)
	}
}

func sourceItems(s corev1.VolumeProjection) []corev1.KeyToPath {
	switch {
	case s.Secret != nil:
		return s.Secret.Items
	case s.ConfigMap != nil:
		return s.ConfigMap.Items
	default:
		return nil
	}
}
