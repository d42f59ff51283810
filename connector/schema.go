package connector

import (
	"embed"
	"encoding/json"
)

//go:embed schema/*.json
var schemaFiles embed.FS

// Names of the JSON Schemas (draft 2020-12) that describe what the connector
// publishes, takes and answers.
const (
	SchemaMessage    = "message"    // data of a message event
	SchemaResult     = "result"     // data of a result event, answer to an ack request
	SchemaDeadLetter = "deadletter" // data of a dead letter
	SchemaCommand    = "command"    // command
	SchemaStatus     = "status"     // answer to a status request
	SchemaAccepted   = "accepted"   // answer to a sync or resume request
	SchemaEmpty      = "empty"      // request without a body
)

// SchemaNames lists the schemas, events first.
func SchemaNames() []string {
	return []string{
		SchemaMessage, SchemaResult, SchemaDeadLetter, SchemaCommand,
		SchemaStatus, SchemaAccepted, SchemaEmpty,
	}
}

// schemaURI is the $id of a schema, and the dataschema of events that keep to it.
// The number at its end changes when a reader has to: when a field is removed or
// changes its meaning, and not when one is added.
func schemaURI(name string) string { return schemaPrefix + name + ":1" }

const schemaPrefix = "urn:pushover-connector:schema:"

// Schema returns one of the named schemas, or nil if there is none by the name.
func Schema(name string) json.RawMessage {
	doc, err := schemaFiles.ReadFile("schema/" + name + ".json")
	if err != nil {
		return nil
	}
	return doc
}
