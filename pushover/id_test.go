package pushover_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func TestMessageIDIsExactBeyondFloat64(t *testing.T) {
	const text = "380698801670733827" // a float64 makes 380698801670733800 of it
	id, err := pushover.ParseMessageID(text)
	if err != nil || id.String() != text {
		t.Errorf("ParseMessageID(%q) = %s, %v; want it unchanged", text, id, err)
	}
	b, err := json.Marshal(id)
	if err != nil || string(b) != `"`+text+`"` {
		t.Errorf("json.Marshal = %s, %v; want a string", b, err)
	}
	var back pushover.MessageID
	if err := json.Unmarshal(b, &back); err != nil || back != id {
		t.Errorf("json.Unmarshal(%s) = %s, %v; want %s", b, back, err, id)
	}
}

func TestParseMessageIDAcceptsPositiveIntegersOnly(t *testing.T) {
	for in, ok := range map[string]bool{
		"1": true, "319": true, "9223372036854775807": true,
		"": false, "0": false, "-1": false, "+1": false, "1.0": false, "1e3": false, " 1": false, "1 ": false,
		"0x1": false, "1_000": false, "9223372036854775808": false, "99999999999999999999": false, "١": false,
	} {
		id, err := pushover.ParseMessageID(in)
		if (err == nil) != ok {
			t.Errorf("ParseMessageID(%q) = %d, %v; want ok %v", in, id, err, ok)
		}
	}
}

func TestParseReceiptNamesWhatIsWrong(t *testing.T) {
	good := strings.Repeat("aZ9", 10)
	if r, err := pushover.ParseReceipt(good); err != nil || string(r) != good {
		t.Errorf("ParseReceipt(%q) = %q, %v", good, r, err)
	}
	for in, want := range map[string]string{
		"":                                 "0 characters",
		"abc":                              "3 characters",
		good + "a":                         "31 characters",
		"../" + good[3:]:                   "character 1 ",
		good[:29] + "\n":                   "character 30 ",
		strings.Repeat("é", 15):            "character 1 ",
		good[:10] + "?secret=" + good[:12]: "character 11 ",
	} {
		_, err := pushover.ParseReceipt(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseReceipt(%q): got error %v, want one with %q", in, err, want)
		}
		if err != nil && in != "" && strings.Contains(err.Error(), in) {
			t.Errorf("ParseReceipt(%q): error repeats the input: %v", in, err)
		}
	}
}

func TestPriorityNames(t *testing.T) {
	for p, want := range map[pushover.Priority][2]string{
		-2: {"lowest", "lowest"}, -1: {"low", "low"}, 0: {"normal", "normal"}, 1: {"high", "high"},
		2: {"emergency", "emergency"}, 7: {"priority(7)", "emergency"}, -9: {"priority(-9)", "lowest"},
	} {
		if got := [2]string{p.String(), p.Name()}; got != want {
			t.Errorf("Priority(%d): got String, Name %q, want %q", int(p), got, want)
		}
	}
}
