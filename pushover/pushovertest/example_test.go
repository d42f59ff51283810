package pushovertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A whole life of a message, with nothing but net/http and a websocket: the
// service wakes the client, the client downloads, acts and deletes.
func Example() {
	ctx := context.Background()
	s := pushovertest.New(pushovertest.Options{})
	if err := s.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	d := s.AddDevice("nas-1")

	header := http.Header{"User-Agent": {"example/1.0"}}
	ws, res, err := websocket.DefaultDialer.DialContext(ctx, s.StreamURL(), header)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ws.Close() }()
	_ = res.Body.Close()
	if err := ws.WriteMessage(websocket.TextMessage, []byte("login:"+d.ID+":"+d.Secret+"\n")); err != nil {
		fmt.Println(err)
		return
	}
	// There is no answer to a login; the service's state tells.
	if err := s.Wait(ctx, func(st pushovertest.State) bool { return st.Device("nas-1").Connected }); err != nil {
		fmt.Println(err)
		return
	}

	s.Send(pushovertest.Outgoing{Title: "Backup", Message: "42 files"})
	_, signal, err := ws.ReadMessage()
	fmt.Printf("signal %s %v\n", signal, err)

	call := func(method, path string, fields url.Values) (body struct {
		Messages []struct {
			ID    string `json:"id_str"`
			Title string
			Text  string `json:"message"`
		}
	}) {
		req, err := http.NewRequestWithContext(ctx, method, s.APIURL()+path+"?"+fields.Encode(), nil)
		if err != nil {
			fmt.Println(err)
			return body
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return body
		}
		defer func() { _ = res.Body.Close() }()
		if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
			fmt.Println(err)
		}
		return body
	}
	got := call("GET", "/1/messages.json", url.Values{"secret": {d.Secret}, "device_id": {d.ID}})
	for _, m := range got.Messages {
		fmt.Println(m.Title, "says", m.Text)
		call("POST", "/1/devices/"+d.ID+"/update_highest_message.json", url.Values{"secret": {d.Secret}, "message": {m.ID}})
	}
	fmt.Println("left:", len(s.Queue("nas-1")), "violations:", len(s.Violations()))
	// Output:
	// signal ! <nil>
	// Backup says 42 files
	// left: 0 violations: 0
}

// A confirmation gets lost after the service has acted.
func ExampleServer_Fault() {
	s := pushovertest.New(pushovertest.Options{})
	if err := s.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	d := s.AddDevice("nas-1")
	sent := s.Send(pushovertest.Outgoing{Message: "x"})
	s.Fault(pushovertest.Fault{On: "POST delete", Drop: "after", Count: 1})

	form := url.Values{"secret": {d.Secret}, "message": sent.IDs}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		s.APIURL()+"/1/devices/"+d.ID+"/update_highest_message.json", strings.NewReader(form.Encode()))
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	fmt.Println("answered:", err == nil, "left:", len(s.Queue("nas-1")))
	// Output: answered: false left: 0
}
