package connector

import "encoding/json"

// AsyncAPI returns the AsyncAPI 3 document of everything that is published,
// taken and answered, with all schemas in it.
func AsyncAPI() (json.RawMessage, error) {
	doc := make(map[string]any)
	if err := json.Unmarshal(Schema("asyncapi"), &doc); err != nil {
		return nil, err
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for _, name := range SchemaNames() {
		schema := make(map[string]any)
		if err := json.Unmarshal(Schema(name), &schema); err != nil {
			return nil, err
		}
		delete(schema, "$schema")
		delete(schema, "$id")
		schemas[name] = schema
	}
	return json.MarshalIndent(doc, "", "  ")
}
