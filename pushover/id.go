package pushover

import (
	"errors"
	"fmt"
	"strconv"
)

// A MessageID is a message's id: unique within its device's queue, growing, and
// too large for a float64 (ids seen today exceed 2^53). Deleting works on
// it as a watermark, so it must never be rounded. A valid id is positive.
type MessageID int64

// ParseMessageID reads an id in decimal digits. It accepts 1 to 2^63-1 and
// nothing else: no sign, fraction, exponent or space.
func ParseMessageID(s string) (MessageID, error) {
	n, ok := parseDigits([]byte(s))
	if !ok || n == 0 {
		return 0, errors.New("message id: want a positive integer below 2^63 in decimal digits")
	}
	return MessageID(n), nil
}

// String returns the id in decimal digits.
func (id MessageID) String() string { return strconv.FormatInt(int64(id), 10) }

// MarshalJSON writes the id as a JSON string, since many readers of JSON would
// round the number.
func (id MessageID) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, id.String()), nil
}

// UnmarshalJSON reads what MarshalJSON writes, and a plain integer as well.
func (id *MessageID) UnmarshalJSON(b []byte) error {
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := ParseMessageID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// parseDigits reads decimal digits exactly; ok is false for anything else and
// for more than an int64 holds.
func parseDigits(b []byte) (n int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	const limit = 1<<63 - 1
	for _, c := range b {
		d := int64(c - '0')
		if c < '0' || c > '9' || n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// parseInteger reads an exact decimal integer with an optional minus sign.
func parseInteger(b []byte) (n int64, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		n, ok = parseDigits(b[1:])
		return -n, ok
	}
	return parseDigits(b)
}

// A Receipt names one emergency message to its sender and to those who may
// acknowledge it: 30 letters and digits.
type Receipt string

const receiptLen = 30

// ParseReceipt checks the form of a receipt. The error says what is wrong
// without repeating the text, which is untrusted.
func ParseReceipt(s string) (Receipt, error) {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) {
			return "", fmt.Errorf("receipt: character %d is not a letter or digit", i+1)
		}
	}
	if len(s) != receiptLen {
		return "", fmt.Errorf("receipt: has %d characters, want %d", len(s), receiptLen)
	}
	return Receipt(s), nil
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// Priority is how urgent the sender called the message. Values outside the five
// known ones are kept as they came.
type Priority int

// The priorities of the Message API.
const (
	PriorityLowest    Priority = -2 // no notification at all
	PriorityLow       Priority = -1 // no sound or vibration
	PriorityNormal    Priority = 0
	PriorityHigh      Priority = 1 // bypasses quiet hours
	PriorityEmergency Priority = 2 // repeated until acknowledged
)

var priorityNames = [...]string{"lowest", "low", "normal", "high", "emergency"}

// String returns lowest, low, normal, high or emergency, and for any other value
// its number as in priority(7).
func (p Priority) String() string {
	if p < PriorityLowest || p > PriorityEmergency {
		return "priority(" + strconv.Itoa(int(p)) + ")"
	}
	return priorityNames[p-PriorityLowest]
}

// Name returns the name of the nearest known priority, so it is always one of
// five words: fit for a subject or a metric label.
func (p Priority) Name() string {
	return min(max(p, PriorityLowest), PriorityEmergency).String()
}
