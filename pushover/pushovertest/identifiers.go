package pushovertest

import (
	crand "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"time"
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

// idEpoch is what the seconds in an id count from.
var idEpoch = time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)

// idMakers is how many makers of ids there are when their order is loose.
const idMakers = 8

// An idClock makes ids as the service does; see "The wire" in the package
// documentation. It skips every id that a float64 could hold exactly, so that a
// client that rounds is wrong every time and not one time in 256.
type idClock struct{ low int64 }

// take returns an id of the second of at. Ids of one maker ascend; loose makes
// each id that of any maker, so that they ascend from second to second only.
func (c *idClock) take(rng *rand.Rand, at time.Time, loose bool) int64 {
	for at.Before(idEpoch.Add(time.Second)) { // the clock of a synctest bubble begins in 2000
		at = at.AddDate(20, 0, 0)
	}
	maker := int64(1)
	if loose {
		maker = rng.Int64N(idMakers)
	}
	c.low += rng.Int64N(499)
	for {
		c.low = (c.low + 1) % (1 << 28)
		id := int64(at.Sub(idEpoch)/time.Second)<<32 | maker<<28 | c.low
		if int64(float64(id)) != id {
			return id
		}
	}
}

// A sequence hands out small growing ids, like old accounts have.
type sequence struct{ next int64 }

func (q *sequence) take(rng *rand.Rand) int64 {
	id := q.next
	q.next = id + 1 + rng.Int64N(3)
	return id
}
