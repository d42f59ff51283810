package tests

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestPodsAreRestricted checks the rendered pods, the test's too, against the
// Pod Security Standard "restricted", with the defaults and all values of ci/.
func TestPodsAreRestricted(t *testing.T) {
	all := ciValues(t)
	all["defaults"] = nil
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			objects, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, v)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				switch o.kind() {
				case "Deployment":
					restricted(t, spec(t, at(o.fields, "spec.template.spec")))
				case "Pod":
					restricted(t, spec(t, at(o.fields, "spec")))
				}
			}
		})
	}
}

func spec(t *testing.T, v any) corev1.PodSpec {
	t.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var s corev1.PodSpec
	if err := yaml.UnmarshalStrict(out, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func restricted(t *testing.T, s corev1.PodSpec) {
	t.Helper()
	if s.HostNetwork || s.HostPID || s.HostIPC {
		t.Error("the pod shares a namespace with its host")
	}
	if s.EnableServiceLinks == nil || *s.EnableServiceLinks {
		t.Error("service links are on: variables such as NATS_PORT would confuse the program")
	}
	if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken {
		t.Error("a service account token is mounted")
	}
	p := s.SecurityContext
	if p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.RunAsUser == nil || *p.RunAsUser < 1000 {
		t.Error("the pod may run as root")
	}
	if p == nil || p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("the pod has no seccomp profile")
	}
	for _, v := range s.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is of the host", v.Name)
		}
	}
	for _, c := range append(s.InitContainers, s.Containers...) {
		if c.Name != "connector" && c.Name != "check" && c.Name != "ready" {
			continue // given by the user, and the user's to restrict
		}
		x := c.SecurityContext
		switch {
		case x == nil:
			t.Errorf("container %s has no security context", c.Name)
		case x.AllowPrivilegeEscalation == nil || *x.AllowPrivilegeEscalation:
			t.Errorf("container %s may escalate", c.Name)
		case x.ReadOnlyRootFilesystem == nil || !*x.ReadOnlyRootFilesystem:
			t.Errorf("container %s may write to its root", c.Name)
		case x.Capabilities == nil || len(x.Capabilities.Drop) != 1 || x.Capabilities.Drop[0] != "ALL" || len(x.Capabilities.Add) > 0:
			t.Errorf("container %s keeps capabilities", c.Name)
		case x.SeccompProfile == nil || x.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
			t.Errorf("container %s has no seccomp profile", c.Name)
		}
	}
}
