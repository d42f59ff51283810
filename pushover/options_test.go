package pushover_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func TestNewNamesTheOptionAtFault(t *testing.T) {
	for name, tc := range map[string]struct {
		o    pushover.Options
		want string
	}{
		"no URL":            {pushover.Options{APIURL: "api.pushover.net"}, "APIURL: not a URL"},
		"broken URL":        {pushover.Options{APIURL: "https://user:SeCrEt@[::1"}, "APIURL: not a URL"},
		"scheme":            {pushover.Options{APIURL: "ftp://api.pushover.net"}, `APIURL: scheme is "ftp", want https`},
		"user":              {pushover.Options{APIURL: "https://user:SeCrEt@api.pushover.net"}, "APIURL: must have no user"},
		"query":             {pushover.Options{StreamURL: "wss://client.pushover.net/push?x=SeCrEt"}, "StreamURL: must have no user, query"},
		"plain":             {pushover.Options{APIURL: "http://api.pushover.net"}, "APIURL: http would send the session secret in the clear"},
		"plain stream":      {pushover.Options{StreamURL: "ws://10.0.0.1/push"}, "StreamURL: ws would send"},
		"loopback in name":  {pushover.Options{APIURL: "http://localhost.example.org"}, "APIURL: http would send"},
		"version in path":   {pushover.Options{APIURL: "https://api.pushover.net/1/"}, "APIURL: leave out the /1"},
		"http for stream":   {pushover.Options{StreamURL: "https://client.pushover.net/push"}, `StreamURL: scheme is "https", want wss`},
		"User-Agent":        {pushover.Options{UserAgent: "a\r\nX: y"}, "UserAgent: want printable ASCII"},
		"negative duration": {pushover.Options{Silence: -time.Second}, "Silence: must not be negative"},
		"negative number":   {pushover.Options{MaxBatch: -1}, "MaxBatch: must not be negative"},
		"two at once":       {pushover.Options{APIURL: "x", StreamURL: "y"}, "StreamURL: not a URL"},
	} {
		_, err := pushover.New(tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "SeCrEt") {
			t.Errorf("%s: got %v, want one with %q", name, err, tc.want)
		}
	}
}

func TestPlaintextIsForThisHostOnlyUnlessAllowed(t *testing.T) {
	for _, o := range []pushover.Options{
		{},
		{APIURL: "http://127.0.0.1:8800", StreamURL: "ws://127.0.0.1:8800/push"},
		{APIURL: "http://[::1]:8800/", StreamURL: "ws://localhost/push"},
		{APIURL: "http://sim.example.org", StreamURL: "ws://sim.example.org/push", AllowPlaintext: true},
		{APIURL: "https://proxy.example.org/pushover/", StreamURL: "wss://proxy.example.org/pushover/push"},
	} {
		if _, err := pushover.New(o); err != nil {
			t.Errorf("New(%s, %s): %v", o.APIURL, o.StreamURL, err)
		}
	}
}
