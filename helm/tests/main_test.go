package tests

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is kubectl when called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "kubectl" {
		os.Exit(m.Run())
	}
	if err := kubectl(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kubectl:", err)
		os.Exit(1)
	}
}

// storedSecret is a Secret as the API server keeps it.
type storedSecret struct {
	Metadata   struct{ Name, Namespace string } `json:"metadata"`
	Data       map[string][]byte                `json:"data,omitempty"`
	StringData map[string]string                `json:"stringData,omitempty"`
}

func readSecret(path string) (s storedSecret, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(content, &s)
}

// kubectl knows the two commands of the README, for the Secret in the file STORE.
func kubectl(args []string) error {
	store := os.Getenv("STORE")
	switch strings.Join(args, " ") {
	case "apply -f -":
		var s storedSecret
		if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
			return err
		}
		s.Data = map[string][]byte{}
		for key, value := range s.StringData {
			s.Data[key] = []byte(value)
		}
		s.StringData = nil
		content, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return os.WriteFile(store, content, 0o600)
	case `-n alerting get secret pushover-credentials -o jsonpath={.data.credentials\.json}`:
		s, err := readSecret(store)
		if err != nil {
			return err
		}
		_, err = fmt.Print(base64.StdEncoding.EncodeToString(s.Data["credentials.json"]))
		return err
	default:
		return fmt.Errorf("nobody taught me %q", args)
	}
}
