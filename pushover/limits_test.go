package pushover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func TestBodiesAreBounded(t *testing.T) {
	endless := func(w http.ResponseWriter, start string) {
		_, _ = w.Write([]byte(start))
		filler := []byte(strings.Repeat(" ", 1<<20))
		for {
			if _, err := w.Write(filler); err != nil {
				return
			}
		}
	}
	for name, tc := range map[string]struct {
		status int
		start  string
		call   func(context.Context, *pushover.Client) error
		want   error
	}{
		"download":       {200, `{"status":1,`, download, pushover.ErrTooLarge},
		"deletion":       {200, `{"status":1,`, func(ctx context.Context, c *pushover.Client) error { return c.DeleteThrough(ctx, 1) }, pushover.ErrTooLarge},
		"icon":           {200, "\x89PNG\r\n\x1a\n", func(ctx context.Context, c *pushover.Client) error { _, err := c.Icon(ctx, "x"); return err }, pushover.ErrTooLarge},
		"refusal":        {400, `{"status":0,`, download, pushover.ErrUnavailable},
		"server trouble": {500, `<html>`, download, pushover.ErrUnavailable},
	} {
		serve(t, pushover.Options{MaxBody: 3 << 20}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tc.status)
			endless(w, tc.start)
		}, func(t *testing.T, c *pushover.Client) {
			err := tc.call(t.Context(), c)
			if !errors.Is(err, tc.want) || errors.Is(tc.want, pushover.ErrTooLarge) && pushover.Retryable(err) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
		})
	}
}

func download(ctx context.Context, c *pushover.Client) error {
	_, err := c.Download(ctx)
	return err
}

// A backlog of any size comes through, though its list is longer than may be read
// at once, if the list ascends. Of any other it is not known what is lowest.
func TestListBeyondTheLimitIsUsedAsFarAsItWasRead(t *testing.T) {
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf(`{"id":%d,"message":%q}`, i+1, strings.Repeat("x", 1000)))
	}
	for name, tc := range map[string]struct {
		list []string
		want error
	}{"ascending": {all, nil}, "descending": {backwards(all), pushover.ErrTooLarge}} {
		for _, size := range []int64{100_000, 100_001, 100_517, 100_999} {
			serve(t, pushover.Options{MaxBody: size}, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(list(tc.list...)))
			}, func(t *testing.T, c *pushover.Client) {
				b, err := c.Download(t.Context())
				if !errors.Is(err, tc.want) {
					t.Fatalf("%s, limit %d: got %v, want %v", name, size, err, tc.want)
				}
				if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("limit %d bytes", size)) {
					t.Errorf("%s, limit %d: the error %v does not name it", name, size, err)
				}
				if err == nil && (len(b.Messages) < 60 || b.Last() != pushover.MessageID(len(b.Messages)) || !b.More) {
					t.Errorf("limit %d: got %d messages through %s, more: %t", size, len(b.Messages), b.Last(), b.More)
				}
			})
		}
	}
}

func TestBodyOfExactlyTheLimitIsAccepted(t *testing.T) {
	doc := list(`{"id":2},{"id":1}`)
	for extra, want := range map[int64]error{0: nil, -1: pushover.ErrTooLarge} {
		serve(t, pushover.Options{MaxBody: int64(len(doc)) + extra}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(doc))
		}, func(t *testing.T, c *pushover.Client) {
			if err := download(t.Context(), c); !errors.Is(err, want) {
				t.Errorf("limit %+d: got %v, want %v", extra, err, want)
			}
		})
	}
}

func TestLimitOfBodiesMayBeTheLargestNumber(t *testing.T) {
	serve(t, pushover.Options{MaxBody: math.MaxInt64, Timeout: math.MaxInt64}, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(list(`{"id":1}`)))
	}, func(t *testing.T, c *pushover.Client) {
		if err := download(t.Context(), c); err != nil {
			t.Errorf("got %v, want success", err)
		}
	})
}

func TestTimeLimitOfACallIsOnTheWholeOfADownloadOnItsProgress(t *testing.T) {
	// Blanks before the document, so many bytes at a time.
	slow := func(portion int, every time.Duration, portions int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for range portions {
				if _, err := io.WriteString(w, strings.Repeat(" ", portion)); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(every):
				case <-r.Context().Done():
					return
				}
			}
			_, _ = io.WriteString(w, list(`{"id":1}`))
		}
	}
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		call   func(context.Context, *pushover.Client) error
		want   error
		after  time.Duration
	}{
		"slow download":      {slow(64<<10, 20*time.Second, 20), download, nil, 400 * time.Second},
		"in small pieces":    {slow(4<<10, time.Second, 100), download, nil, 100 * time.Second},
		"trickling":          {slow(1, 2*time.Second, 1000), download, pushover.ErrUnavailable, 30 * time.Second},
		"endless":            {slow(64<<10, 20*time.Second, 1000), download, pushover.ErrUnavailable, 10 * time.Minute},
		"slow deletion":      {slow(64<<10, 20*time.Second, 3), func(ctx context.Context, c *pushover.Client) error { return c.DeleteThrough(ctx, 1) }, pushover.ErrUnavailable, 30 * time.Second},
		"download in a rush": {slow(1<<20, time.Millisecond, 20), download, nil, 20 * time.Millisecond},
	} {
		serve(t, pushover.Options{}, tc.answer, func(t *testing.T, c *pushover.Client) {
			start := time.Now()
			if err := tc.call(t.Context(), c); !errors.Is(err, tc.want) || time.Since(start) != tc.after {
				t.Errorf("%s: got %v after %s, want %v after %s", name, err, time.Since(start), tc.want, tc.after)
			}
		})
	}
	silent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"status":1,`))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	serve(t, pushover.Options{Timeout: 10 * time.Second}, silent, func(t *testing.T, c *pushover.Client) {
		start := time.Now()
		if err := download(t.Context(), c); !errors.Is(err, pushover.ErrUnavailable) || time.Since(start) != 10*time.Second {
			t.Errorf("download that falls silent: got %v after %s, want ErrUnavailable after 10 s", err, time.Since(start))
		}
	})
}

func backwards(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// Of a body that is too long all that may be used comes, and nothing else.
func TestBodyIsCutAtItsLimit(t *testing.T) {
	for limit, want := range map[int64]string{0: "", 1: "a", 5: "abcde", 6: "abcdef", 7: "abcdef"} {
		for _, buffer := range []int{1, 2, 6, 64} {
			r := pushover.LimitBody(strings.NewReader("abcdef"), limit)
			var got []byte
			var err error
			for err == nil {
				p := bytes.Repeat([]byte{'#'}, buffer)
				var n int
				n, err = r.Read(p)
				got = append(got, p[:n]...)
			}
			if string(got) != want || errors.Is(err, pushover.ErrTooLarge) != (limit < 6) {
				t.Errorf("limit %d, buffer of %d: got %q, %v, want %q", limit, buffer, got, err, want)
			}
		}
	}
}
