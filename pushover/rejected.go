package pushover

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// The memory of rejected requests is bounded in number, the oldest being
// forgotten first, and in time: what the account's owner mends meanwhile must
// take effect without a restart, and one request an hour troubles nobody.
const (
	maxRemembered = 512
	rememberedFor = time.Hour
)

type fingerprint [sha256.Size]byte

// rejections remembers which requests the service refused, and with what, so
// that they are not sent again unchanged. It holds salted hashes, since a request
// contains secrets.
type rejections struct {
	salt  [16]byte
	mu    sync.Mutex
	known map[fingerprint]rejection
	order []fingerprint // oldest first
}

type rejection struct {
	err *APIError
	at  time.Time
}

func newRejections() *rejections {
	r := &rejections{known: make(map[fingerprint]rejection)}
	_, _ = rand.Read(r.salt[:]) // never fails, says its documentation
	return r
}

func (r *rejections) fingerprint(rq *request) fingerprint {
	h := sha256.New()
	add := func(s string) {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0xff}) // in no UTF-8 text, so parts cannot run together
	}
	_, _ = h.Write(r.salt[:])
	add(rq.method)
	for _, p := range rq.path {
		add(p)
	}
	for _, f := range rq.form {
		add(f.name)
		add(f.value)
	}
	return fingerprint(h.Sum(nil))
}

// lookup returns the answer a request got within the last hour, nil if it was
// not rejected.
func (r *rejections) lookup(f fingerprint) *APIError {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.order) > 0 && time.Since(r.known[r.order[0]].at) >= rememberedFor {
		r.dropOldest()
	}
	return r.known[f].err
}

func (r *rejections) add(f fingerprint, err *APIError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[f]; ok { // two were under way at once
		return
	}
	if len(r.order) == maxRemembered {
		r.dropOldest()
	}
	r.order = append(r.order, f)
	r.known[f] = rejection{err, time.Now()}
}

func (r *rejections) dropOldest() {
	delete(r.known, r.order[0])
	r.order = append(r.order[:0], r.order[1:]...)
}
