package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/pushover-connector/pushover-connector/connector"
)

func schemaCommand() command {
	return command{
		name: "schema", args: "[NAME]",
		summary: "Print the JSON Schema of events, commands and answers",
		help: "Names: " + strings.Join(connector.SchemaNames(), ", ") + ".\n" +
			"Without a name it prints that of message events. The name asyncapi prints the\n" +
			"AsyncAPI 3 document of all subjects and topics.",
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(_ context.Context, s streams, args []string) error {
				name := connector.SchemaMessage
				switch len(args) {
				case 0:
				case 1:
					name = args[0]
				default:
					return usageError("schema takes one name")
				}
				if name == "asyncapi" {
					doc, err := connector.AsyncAPI()
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(s.out, "%s\n", doc)
					return err
				}
				doc := connector.Schema(name)
				if doc == nil {
					return usageError("there is no schema %q; there are %s", name, strings.Join(append(connector.SchemaNames(), "asyncapi"), ", "))
				}
				_, err := fmt.Fprintf(s.out, "%s", doc)
				return err
			}
		},
	}
}
