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

// Schema returns one of the named schemas, or nil if there is none by the name.
func Schema(name string) json.RawMessage {
	doc, err := schemaFiles.ReadFile("schema/" + name + ".json")
	if err != nil {
		return nil
	}
	return doc
}
