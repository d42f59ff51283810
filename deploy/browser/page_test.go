package browser

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pushover-connector/pushover-connector/connector"
)

// contrasts finds text of too little contrast.
//
//go:embed testdata/contrast.js
var contrasts string

// serve serves a connector's page, and ends its streams at the end.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// Every state is legible and complete at both widths and in both schemes, and
// breaks no rule of the page's policy.
func TestEveryState(t *testing.T) {
	for _, state := range states() {
		t.Run(state.name, func(t *testing.T) {
			w := newWorld(t)
			state.make(w)
			url := serve(t, w.handler()).URL
			b := newTab(t)
			for _, width := range []int64{390, 1600} {
				for _, scheme := range []string{"light", "dark"} {
					b.look(width, scheme)
					b.do(chromedp.Navigate(url))
					b.await(`document.documentElement.classList.contains("js")`)
					where := fmt.Sprintf("%s-%d-%s", state.name, width, scheme)
					if got := eval[string](b, `document.querySelector("h1").innerText`); !strings.HasPrefix(got, state.says) {
						t.Errorf("%s: the verdict is %q, want %q", where, got, state.says)
					}
					if wide := eval[int64](b, `document.documentElement.scrollWidth`); wide > width {
						t.Errorf("%s: the page is %d wide and scrolls sideways", where, wide)
					}
					for _, fault := range eval[[]string](b, contrasts) {
						t.Errorf("%s: contrast %s", where, fault)
					}
					if text := eval[string](b, `document.body.innerHTML`); strings.Contains(text, "SECRET") || strings.Contains(text, w.device.Secret) {
						t.Errorf("%s: the page shows a secret or a text", where)
					}
					b.picture(where)
				}
			}
			b.wantQuiet()
		})
	}
}

// picture saves what the whole page looks like, if that is asked for.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// A change shows without a reload, and leaves what is selected and in focus.
func TestLiveUpdate(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.alarm("Smoke detector", "UPS")
	b := newTab(t)
	b.do(chromedp.Navigate(serve(t, w.handler()).URL))
	eval[bool](b, `window.same = true, document.querySelectorAll("#emergencies button")[1].focus(),
		getSelection().selectAllChildren(document.querySelectorAll("#emergencies code")[1]), true`)
	selected := eval[string](b, `getSelection().toString()`)
	icon := eval[string](b, `document.querySelector("link[rel=icon]").href`)

	download := w.health.Activity(connector.PartDownload)
	download.Failed(errors.New("it rains"), time.Now().Add(time.Hour))
	b.await(`document.querySelector("h1").innerText.startsWith("NOT READY: download has been failing")`)
	if _, err := w.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(w.Status().Emergencies.Outstanding[0].Receipt)}); err != nil {
		t.Fatal(err)
	}
	b.await(`document.querySelectorAll("#emergencies li").length == 1`)
	b.await(`document.querySelector("#parts .failing .in").innerText == "in 59 min"`) // the countdown
	if !eval[bool](b, `window.same === true`) {
		t.Error("the page was loaded again")
	}
	if got := eval[string](b, `getSelection().toString()`); got != selected || !strings.HasPrefix(got, "pushover-connector ack ") {
		t.Errorf("the selection is %q, want %q as before", got, selected)
	}
	if !eval[bool](b, `document.activeElement === document.querySelector("#emergencies button")`) {
		t.Error("the focus is lost")
	}
	if eval[string](b, `document.querySelector("link[rel=icon]").href`) == icon {
		t.Error("the icon stays as it was")
	}
	if got := eval[string](b, `document.title`); !strings.HasPrefix(got, "NOT READY: download") {
		t.Errorf("the title is %q", got)
	}
	download.OK()
	b.await(`document.querySelector("h1").innerText.startsWith("Ready:")`)
	b.wantQuiet()
}

// A page that hears nothing any more says so, and catches up.
func TestLostConnection(t *testing.T) {
	w := newWorld(t)
	w.run()
	var down atomic.Bool
	h := w.handler()
	s := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(rw, r)
	}))
	b := newTab(t)
	for _, scheme := range []string{"light", "dark"} {
		b.look(1600, scheme)
		b.do(chromedp.Navigate(s.URL))
		b.await(`document.documentElement.classList.contains("js")`)
		down.Store(true)
		s.CloseClientConnections()
		b.await(`!document.querySelector("#lost").hidden && document.title.startsWith("? Ready")`)
		for _, fault := range eval[[]string](b, contrasts) {
			t.Errorf("contrast %s", fault)
		}
		b.picture("lost-1600-" + scheme)
		down.Store(false)
		b.await(`document.querySelector("#lost").hidden && document.title.startsWith("Ready")`)
	}
}

// One page too many is refused a stream, and looks now and then instead.
func TestTooManyPages(t *testing.T) {
	w := newWorld(t)
	h := w.handler()
	var looks atomic.Int64
	s := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			http.Error(rw, "enough", http.StatusServiceUnavailable)
			return
		}
		looks.Add(1)
		h.ServeHTTP(rw, r)
	}))
	b := newTab(t)
	b.do(chromedp.Navigate(s.URL))
	w.health.Activity(connector.PartBus).Failed(errors.New("it rains"), time.Now().Add(time.Hour))
	b.await(`document.querySelector("h1").innerText.startsWith("NOT READY: bus")`)
	if looks.Load() < 2 {
		t.Error("the page has not looked again, so this test proves nothing")
	}
}

// Without a script the page says the same, offers no button, and reloads.
func TestWithoutScript(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.alarm("Smoke detector")
	loads := make(chan string, 10)
	h := w.handler()
	s := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" || r.URL.Path == "/" {
			loads <- r.URL.Path
		}
		h.ServeHTTP(rw, r)
	}))
	b := newTab(t)
	b.look(390, "light")
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(s.URL))
	said := eval[string](b, `document.body.innerText`)
	for _, want := range []string{"Ready: an alarm sent now becomes an event", "Smoke detector", "pushover-connector ack ", "UTC"} {
		if !strings.Contains(said, want) {
			t.Errorf("without a script the page does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "Copy") || strings.Contains(said, "No connection") {
		t.Errorf("without a script the page shows what needs one:\n%s", said)
	}
	b.picture("noscript-390-light")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 2 {
		select {
		case path := <-loads:
			if path != "/" {
				t.Errorf("without a script the page asks for %s", path)
			}
		case <-ctx.Done():
			t.Fatal("the page has not reloaded")
		}
	}
	b.wantQuiet()
}

// Tab reaches each link and button, in their order and visibly, and Enter
// copies.
func TestKeyboard(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.alarm("Smoke detector", "UPS")
	w.health.Activity(connector.PartDownload).Failed(errors.New("it rains"), time.Now().Add(time.Hour))
	b := newTab(t)
	b.look(1600, "light")
	b.do(chromedp.Navigate(serve(t, w.handler()).URL))
	b.await(`document.documentElement.classList.contains("js")`)
	const name = `(e => e.innerText + " " + (e.getAttribute("href") || ""))`
	want := eval[[]string](b, `[...document.querySelectorAll("a,button")].map(`+name+`)`)
	var got []string
	for range want {
		b.do(chromedp.KeyEvent(kb.Tab))
		got = append(got, eval[string](b, name+`(document.activeElement)`))
		if outline := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline != "solid" {
			t.Errorf("the focus on %q shows as %q", got[len(got)-1], outline)
		}
		if len(got) == 2 {
			b.picture("focus-1600-light")
		}
	}
	if !slices.Equal(got, want) || len(want) < 9 {
		t.Errorf("Tab reaches\n%q, want\n%q", got, want)
	}
	eval[bool](b, `document.querySelector("#emergencies button").focus(), true`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await(`document.querySelector("#emergencies button").innerText == "Copied"`)
}

// Local time stands beside UTC where they differ.
func TestLocalTime(t *testing.T) {
	w := newWorld(t)
	b := newTab(t)
	if _, err := chromedp.Call(b.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(serve(t, w.handler()).URL))
	b.await(`/\d\d:\d\d:\d\d UTC · .*\d\d:\d\d:\d\d local/.test(document.querySelector("#parts .at").innerText)`)
	utc := w.Status().Parts[0].Since.UTC()
	want := utc.Add(5*time.Hour + 30*time.Minute).Format("15:04:05 local")
	if got := eval[string](b, `document.querySelector("#parts .at").innerText`); !strings.HasSuffix(got, want) {
		t.Errorf("the time is %q, want %q at its end", got, want)
	}
	b.look(390, "light")
	if wide := eval[int64](b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("the page is %d wide", wide)
	}
	b.picture("local-390-light")
}
