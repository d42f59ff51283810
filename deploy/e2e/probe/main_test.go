package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// TestReplyShowsARefusalWithItsReason: the end-to-end test looks for the reason
// in answers that are not a success.
func TestReplyShowsARefusalWithItsReason(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "why", http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	ask := func(address string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		answerHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/http?url="+url.QueryEscape(address), nil))
		return w
	}
	var got reply
	if err := json.Unmarshal(ask(server.URL).Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := (reply{http.StatusServiceUnavailable, "why\n"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	server.Close()
	if code := ask(server.URL).Code; code != http.StatusBadGateway {
		t.Errorf("nobody there: got status %d, want %d", code, http.StatusBadGateway)
	}
}

func TestSummaryTellsLossRepeatAndDisorder(t *testing.T) {
	for _, test := range []struct {
		name             string
		ids              []string
		events, distinct int
		ordered          bool
	}{
		{"in order", []string{"9007199254740993", "9007199254740994", "9007199254740999"}, 3, 3, true},
		{"repeated", []string{"1", "2", "2"}, 3, 2, false},
		{"out of order", []string{"1", "3", "2"}, 3, 3, false},
		{"results, whose ids have no order", []string{"PUSHOVER_CONTROL#2", "PUSHOVER_CONTROL#1"}, 2, 2, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSummary()
			for _, id := range test.ids {
				if err := s.add([]byte(`{"id":"` + id + `","type":"t"}`)); err != nil {
					t.Fatal(err)
				}
			}
			if s.Events != test.events || s.Distinct != test.distinct || s.Ordered != test.ordered {
				t.Errorf("got %+v", s)
			}
			if s.First != test.ids[0] || s.Last != test.ids[len(test.ids)-1] || len(s.Types) != 1 {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestSummaryRefusesWhatIsNoEvent(t *testing.T) {
	for _, body := range []string{"", "[]", "{}", `{"id":1}`} {
		if err := newSummary().add([]byte(body)); err == nil {
			t.Errorf("%q: got no error", body)
		}
	}
}
