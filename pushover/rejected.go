package pushover

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
)

// maxRemembered bounds the memory of rejected requests. The oldest is forgotten
// first.
const maxRemembered = 512

type fingerprint [sha256.Size]byte

// rejections remembers which requests the service refused, and with what, so
// that they are not sent again unchanged. It holds salted hashes, since a request
// contains secrets.
type rejections struct {
	salt  [16]byte
	mu    sync.Mutex
	errs  map[fingerprint]*APIError
	order []fingerprint
}

func newRejections() *rejections {
	r := &rejections{errs: make(map[fingerprint]*APIError)}
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

// lookup returns the answer a request got, nil if it was not rejected.
func (r *rejections) lookup(f fingerprint) *APIError {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errs[f]
}

func (r *rejections) add(f fingerprint, err *APIError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.errs[f]; ok {
		return
	}
	if len(r.order) == maxRemembered {
		delete(r.errs, r.order[0])
		r.order = append(r.order[:0], r.order[1:]...)
	}
	r.order = append(r.order, f)
	r.errs[f] = err
}
