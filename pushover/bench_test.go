package pushover_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// backlog is a download of n messages as the service sends them.
func backlog(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"status":1,"request":"5f1e0d2c","messages":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		id := 380698801670733827 + 97*i
		fmt.Fprintf(&b, `{"id":%d,"id_str":"%d","umid":%d,"umid_str":"%d","title":"Backup of nas-%d","message":"%s \u2714 line\nnext",`+
			`"app":"Backup","aid":1234567,"aid_str":"1234567","icon":"k2a9x0q4v7b1c3d","date":%d,"queued_date":%d,`+
			`"dispatched_date":%d,"priority":0,"sound":"po","acked":0,"url":"https://example.org/backups/%d","url_title":"log","html":0}`,
			id, id, id+1, id+1, i%10, strings.Repeat("All 42 files were saved. ", 4), 1700000000+i, 1700000000+i, 1700000001+i, i)
	}
	b.WriteString(`],"user":{"quiet_hours":false},"device":{"name":"nas-1"}}`)
	return b.Bytes()
}

// BenchmarkDecode reads a backlog of 100 000 messages, which is cut to the limits of
// a batch, and one of 5 000, which is kept whole.
func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{5_000, 100_000} {
		doc := backlog(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				batch, err := pushover.ReadBatch(bytes.NewReader(doc), 5000, 8<<20)
				if err != nil || len(batch.Messages) != 5000 {
					b.Fatal(len(batch.Messages), err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkDownload is a whole download of 1000 messages from a service in this
// process, over a socket: what a page of a backlog costs.
func BenchmarkDownload(b *testing.B) {
	doc := backlog(1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(doc) }))
	defer server.Close()
	c := mustNew(b, pushover.Options{APIURL: server.URL, Credentials: someCredentials})
	defer c.Close()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if batch, err := c.Download(b.Context()); err != nil || len(batch.Messages) != 1000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkDecodeByEncodingJSON is the same backlog through encoding/json, for comparison.
func BenchmarkDecodeByEncodingJSON(b *testing.B) {
	doc := backlog(5000)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		var d struct{ Messages []map[string]json.RawMessage }
		if err := json.Unmarshal(doc, &d); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(5000*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
