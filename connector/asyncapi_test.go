package connector_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pushover-connector/pushover-connector/connector"
)

func asyncAPI(t *testing.T) any {
	t.Helper()
	text, err := connector.AsyncAPI()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// The document is valid by the specification's own schema.
func TestAsyncAPIDocumentIsValid(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "asyncapi-3.0.0.schema.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	specification, err := jsonschema.UnmarshalJSON(z)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("asyncapi.json", specification); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(asyncAPI(t)); err != nil {
		t.Error(err)
	}
}

// Whole events, as they go out, hold against the schemas of the document.
func TestGoldenEventsFollowTheAsyncAPIDocument(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("doc", asyncAPI(t)); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"message", "result", "deadletter"} {
		schema, err := c.Compile("doc#/components/schemas/" + kind + "Event")
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join("testdata", kind+"-*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden events of kind %s: %v", kind, err)
		}
		for _, file := range files {
			event, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			validate(t, schema, event)
		}
	}
}

// Every endpoint has a channel.
func TestAsyncAPIKnowsEveryEndpoint(t *testing.T) {
	text, err := json.Marshal(asyncAPI(t))
	if err != nil {
		t.Fatal(err)
	}
	c := connector.New(nil, connector.Options{})
	for _, e := range c.Endpoints() {
		if !strings.Contains(string(text), `"pushover.rpc.`+e.Name+`"`) {
			t.Errorf("endpoint %s is not in the document", e.Name)
		}
	}
}
