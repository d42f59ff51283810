package connector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// maxCommand is the largest command body that is looked into. A whole event
// may be sent as a command, and raw may be large in it.
const maxCommand = 256 << 10

// maxCommandID bounds what is echoed of a sender's own command id.
const maxCommandID = 200

// CommandKey returns what orders a command among others: its receipt, or
// nothing for a command that will be rejected. Commands with the same key must
// be carried out in the order in which they were sent.
func CommandKey(body []byte) string {
	receipt, _, err := decodeCommand(body)
	if err != nil {
		return ""
	}
	return string(receipt)
}

// decodeCommand reads a command in any of its forms: a JSON object with a
// receipt, a bare receipt as text or JSON string, or an event of ours in either
// content mode. The error's text becomes the rejection's reason and so never
// quotes the body at length.
func decodeCommand(body []byte) (receipt pushover.Receipt, id string, err error) {
	switch {
	case len(body) > maxCommand:
		return "", "", fmt.Errorf("command is %d bytes, more than %d", len(body), maxCommand)
	case !utf8.Valid(body):
		return "", "", errors.New("command is not UTF-8 text")
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return "", "", errors.New("command is empty")
	}
	text := string(body)
	switch body[0] {
	case '{':
		return decodeCommandObject(body)
	case '"':
		if err := json.Unmarshal(body, &text); err != nil {
			return "", "", errors.New("command is not valid JSON")
		}
	case '[':
		return "", "", errors.New("command is a JSON array; want an object with a receipt")
	}
	receipt, err = pushover.ParseReceipt(text)
	return receipt, "", err
}

func decodeCommandObject(body []byte) (pushover.Receipt, string, error) {
	type fields struct {
		Command *string         `json:"command"`
		ID      json.RawMessage `json:"id"`
		Receipt *string         `json:"receipt"`
	}
	var c struct {
		fields
		SpecVersion string  `json:"specversion"`
		Data        *fields `json:"data"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&c); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return "", "", fmt.Errorf("command field %q has the wrong type: %s",
				strings.TrimPrefix(wrongType.Field, "fields."), wrongType.Value) // the Go struct's name is nobody's business
		}
		return "", "", errors.New("command is not valid JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", "", errors.New("command has text after its JSON object")
	}
	if c.Command != nil && *c.Command != "ack" {
		return "", "", fmt.Errorf("unknown command %q; the only command is ack", truncate(*c.Command, 40))
	}
	id := commandID(c.ID)
	receipt := c.Receipt
	if receipt == nil && c.SpecVersion != "" && c.Data != nil {
		receipt = c.Data.Receipt
		if receipt == nil {
			return "", id, errors.New("event carries no receipt: only emergencies can be acknowledged")
		}
	}
	if receipt == nil {
		return "", id, errors.New(`command has no field "receipt"`)
	}
	r, err := pushover.ParseReceipt(*receipt)
	return r, id, err
}

// commandID reads the sender's id, a string or a number, without judging it.
func commandID(raw json.RawMessage) string {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		var n json.Number
		if err := json.Unmarshal(raw, &n); err != nil {
			return ""
		}
		s = n.String()
	}
	return truncate(cleanAttribute(s), maxCommandID)
}
