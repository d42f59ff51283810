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

// MaxCommand is the largest command body that is looked into, in bytes. A whole event
// may be sent as a command, and raw may be large in it.
const MaxCommand = 256 << 10

// The commands.
const (
	verbAck    = "ack"
	verbStatus = "status"
	verbSync   = "sync"
	verbResume = "resume"
)

// maxCommandID bounds what is echoed of a sender's own command id.
const maxCommandID = 200

// A decodedCommand is what a command's body says.
type decodedCommand struct {
	verb    string           // ack, status, sync or resume
	receipt pushover.Receipt // of an ack
	id      string           // the sender's own; may be empty
}

// decodeCommand reads a command in any of its forms: a JSON object with a
// command or a receipt, a bare receipt as text or JSON string, or an event of
// ours in either content mode. The error's text becomes the rejection's reason
// and so never quotes the body at length; what could be read is returned with it.
func decodeCommand(body []byte) (decodedCommand, error) {
	ack := decodedCommand{verb: verbAck}
	switch {
	case len(body) > MaxCommand:
		return ack, fmt.Errorf("command is larger than %d bytes", MaxCommand)
	case !utf8.Valid(body):
		return ack, errors.New("command is not UTF-8 text")
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return ack, errors.New("command is empty")
	}
	text := string(body)
	switch body[0] {
	case '{':
		return decodeCommandObject(body)
	case '"':
		if err := json.Unmarshal(body, &text); err != nil {
			return ack, errors.New("command is not valid JSON")
		}
	case '[':
		return ack, errors.New("command is a JSON array; want an object with a receipt")
	}
	var err error
	ack.receipt, err = pushover.ParseReceipt(text)
	return ack, err
}

func decodeCommandObject(body []byte) (decodedCommand, error) {
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
	out := decodedCommand{verb: verbAck}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&c); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return out, fmt.Errorf("command field %q has the wrong type: %s",
				strings.TrimPrefix(wrongType.Field, "fields."), wrongType.Value) // without the Go struct's name
		}
		return out, errors.New("command is not valid JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return out, errors.New("command has text after its JSON object")
	}
	out.id = commandID(c.ID)
	if c.Command != nil {
		out.verb = *c.Command
	}
	switch out.verb {
	case verbAck:
	case verbStatus, verbSync, verbResume:
		return out, nil
	default:
		out.verb = verbAck
		return out, fmt.Errorf("unknown command %q; want ack, status, sync or resume", truncate(*c.Command, 40))
	}
	receipt := c.Receipt
	if receipt == nil && c.SpecVersion != "" && c.Data != nil {
		receipt = c.Data.Receipt
		if receipt == nil {
			return out, errors.New("event carries no receipt: only emergencies can be acknowledged")
		}
	}
	if receipt == nil {
		return out, errors.New(`command has no field "receipt"`)
	}
	var err error
	out.receipt, err = pushover.ParseReceipt(*receipt)
	return out, err
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
