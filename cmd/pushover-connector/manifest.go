package main

import (
	"encoding/json"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// secretManifest is a Kubernetes Secret with the credentials as the file that
// the chart mounts. JSON is a manifest format too, and needs no YAML library.
func secretManifest(creds pushover.Credentials, name, namespace string) ([]byte, error) {
	type metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace,omitempty"`
		Labels    map[string]string `json:"labels"`
	}
	manifest := struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   metadata          `json:"metadata"`
		Type       string            `json:"type"`
		StringData map[string]string `json:"stringData"`
	}{
		"v1", "Secret",
		metadata{name, namespace, map[string]string{"app.kubernetes.io/name": "pushover-connector"}},
		"Opaque",
		map[string]string{"credentials.json": string(creds.Encode())},
	}
	out, err := json.MarshalIndent(manifest, "", "  ")
	return append(out, '\n'), err
}
