package tests

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// cluster is what a network plugin would know: policies and pods' labels.
type cluster struct {
	policies []networkingv1.NetworkPolicy
	pods     map[string]labels.Set
}

// stranger is a pod that no policy is about.
const stranger = "stranger"

func newCluster(t *testing.T, text string) cluster {
	t.Helper()
	c := cluster{pods: map[string]labels.Set{stranger: {"app": stranger}}}
	for _, o := range render(t, text) {
		switch o.kind() {
		case "NetworkPolicy":
			var p networkingv1.NetworkPolicy
			decode(t, o, &p)
			c.policies = append(c.policies, p)
		case "Pod":
			var p corev1.Pod
			decode(t, o, &p)
			c.pods[p.Name] = p.Labels
		case "Deployment":
			l := labels.Set{}
			for k, v := range at(o.fields, "spec.template.metadata.labels").(map[string]any) {
				l[k] = v.(string)
			}
			c.pods["connector"] = l
		}
	}
	return c
}

// allows says whether a connection between two pods of the namespace is made:
// each end's policies must allow it, if it has any. An end that is not a pod of ours
// is some address.
func (c cluster) allows(t *testing.T, from, to string, port int32) bool {
	t.Helper()
	out, in := true, true
	for _, p := range c.policies {
		if matches(t, p.Spec.PodSelector, c.pods[from]) && slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			out = slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
				return permits(t, r.Ports, r.To, port, c.pods[to])
			})
		}
		if matches(t, p.Spec.PodSelector, c.pods[to]) && slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			in = slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
				return permits(t, r.Ports, r.From, port, c.pods[from])
			})
		}
	}
	return out && in
}

func permits(t *testing.T, ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, port int32, peer labels.Set) bool {
	t.Helper()
	return slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == port }) &&
		(len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
			return p.PodSelector != nil && p.NamespaceSelector == nil && matches(t, *p.PodSelector, peer)
		}))
}

func matches(t *testing.T, s metav1.LabelSelector, l labels.Set) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		t.Fatal(err)
	}
	return l != nil && selector.Matches(l)
}

// TestNetworkPolicyLetsThroughWhatIsNeeded takes the chart's pods and others, and
// asks the policies.
func TestNetworkPolicyLetsThroughWhatIsNeeded(t *testing.T) {
	const (
		elsewhere = "[{ipBlock: {cidr: 192.0.2.0/24}}]"
		closed    = "networkPolicy: {enabled: true, ingressFrom: " + elsewhere + "}"
		embedded  = "nats: {url: '', auth: {type: token, value: t}}, persistence: {enabled: true}"
		check     = "rel-pushover-connector-check"
		ready     = "rel-pushover-connector-ready"
		connector = "connector"
	)
	for _, test := range []struct {
		name, values, from, to string
		port                   int32
		want                   bool
	}{
		{"readiness test", "{" + closed + "}", ready, connector, 8080, true},
		{"readiness test, another port", "{containerPort: 9090, " + closed + "}", ready, connector, 9090, true},
		{"check of the server inside", "{" + embedded + ", " + closed + "}", check, connector, 4222, true},
		{"check of another bus", "{" + closed + "}", check, "bus", 4222, true},
		{"check of Pushover", "{" + closed + "}", check, "Pushover", 443, true},
		{"check at the connector, no server inside", "{" + closed + "}", stranger, connector, 4222, false},
		{"name server, for a test", "{" + closed + "}", ready, "DNS", 53, true},
		{"connector to the bus", "{" + closed + "}", connector, "bus", 4222, true},
		{"connector to another port", "{" + closed + "}", connector, "bus", 4223, false},
		{"a test to another port", "{" + closed + "}", check, "bus", 4223, false},
		{"a test at the connector, another port", "{" + closed + "}", ready, connector, 9, false},
		{"a stranger, kept out", "{" + closed + "}", stranger, connector, 8080, false},
		{"a stranger, let in", "networkPolicy: {enabled: true}", stranger, connector, 8080, true},
		{"a stranger to a test", "networkPolicy: {enabled: true}", stranger, check, 8080, false},
		{"connector to a test", "networkPolicy: {enabled: true}", connector, ready, 8080, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := newCluster(t, test.values).allows(t, test.from, test.to, test.port); got != test.want {
				t.Errorf("%s: %s to %s, port %d: got allowed %v, want %v", test.values, test.from, test.to, test.port, got, test.want)
			}
		})
	}
}

// TestNetworkPolicyWithoutTests gives no right to pods that there are not.
func TestNetworkPolicyWithoutTests(t *testing.T) {
	c := newCluster(t, "{tests: {enabled: false}, networkPolicy: {enabled: true}}")
	if len(c.policies) != 1 || len(c.policies[0].Spec.Ingress) != 1 {
		t.Errorf("got %d policies, the first with %d rules for what comes in", len(c.policies), len(c.policies[0].Spec.Ingress))
	}
}
