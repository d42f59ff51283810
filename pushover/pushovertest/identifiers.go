package pushovertest

import (
	crand "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
)

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomText returns n unpredictable letters and digits.
func randomText(n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		_, _ = crand.Read(buf[:]) // never fails, see crypto/rand
		for _, b := range buf {
			// 248 is the largest multiple of 62 in a byte: no letter is favoured.
			if b < 248 && len(out) < n {
				out = append(out, alphanumerics[b%62])
			}
		}
	}
	return string(out)
}

// newRequestID returns a random UUID, the form of "request" in every answer.
func newRequestID() string {
	var b [16]byte
	_, _ = crand.Read(b[:]) // never fails, see crypto/rand
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// maxExactFloat is 2^53: beyond it a float64 cannot hold every integer.
const maxExactFloat = 1 << 53

// A sequence hands out growing ids with irregular gaps. Beyond 2^53 it skips
// every id that a float64 could hold exactly, so that a client that rounds is
// wrong every time and not one time in sixty-four.
type sequence struct{ next int64 }

func (q *sequence) take(rng *rand.Rand) int64 {
	id := q.next
	for id > maxExactFloat && int64(float64(id)) == id {
		id++
	}
	q.next = id + 1 + rng.Int64N(997)
	return id
}

// takeSmall hands out ids without gaps wider than two, like old accounts have.
func (q *sequence) takeSmall(rng *rand.Rand) int64 {
	id := q.next
	q.next = id + 1 + rng.Int64N(3)
	return id
}
