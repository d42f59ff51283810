package pushover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A scanner reads a JSON text piece by piece, so that only one element of a
// long list is in memory at a time.
type scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int // the unread part of buf
	eof      bool
}

const scanBuffer = 64 << 10

func newScanner(r io.Reader) *scanner { return &scanner{r: r, buf: make([]byte, scanBuffer)} }

// fill reads more behind the unread part. It returns io.ErrUnexpectedEOF at the
// end, and any error of the reader.
func (s *scanner) fill() error {
	if s.eof {
		return io.ErrUnexpectedEOF
	}
	if s.pos > 0 && s.end == len(s.buf) {
		s.end = copy(s.buf, s.buf[s.pos:s.end])
		s.pos = 0
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.eof = err == io.EOF
		if err != nil && !s.eof {
			return err
		}
		if n > 0 {
			return nil
		}
		if s.eof {
			return io.ErrUnexpectedEOF
		}
	}
	return io.ErrNoProgress
}

// peek returns the next byte that is not space.
func (s *scanner) peek() (byte, error) {
	for {
		for ; s.pos < s.end; s.pos++ {
			if c := s.buf[s.pos]; !isSpace(c) {
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// take consumes the next byte if it is c.
func (s *scanner) take(c byte) (bool, error) {
	next, err := s.peek()
	if err != nil || next != c {
		return false, err
	}
	s.pos++
	return true, nil
}

// expect consumes c and fails for anything else.
func (s *scanner) expect(c byte) error {
	ok, err := s.take(c)
	if err == nil && !ok {
		err = errSyntax
	}
	return err
}

// atEnd fails if anything but space is left.
func (s *scanner) atEnd() error {
	_, err := s.peek()
	switch {
	case err == nil:
		return errSyntax
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	default:
		return err
	}
}

// value returns the extent of the next value, at most limit bytes. Its grammar is
// checked only as far as finding its end demands. The slice is good until the
// next call.
func (s *scanner) value(limit int) ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	var x extent
	for {
		n, done := x.scan(s.buf[s.pos:s.end])
		if n > limit {
			return nil, fmt.Errorf("a value of the document is %w (limit %d bytes)", ErrTooLarge, limit)
		}
		if done {
			v := s.buf[s.pos : s.pos+n]
			s.pos += n
			return v, nil
		}
		if err := s.fill(); err != nil {
			if s.eof && errors.Is(err, io.ErrUnexpectedEOF) && x.scalar() {
				v := s.buf[s.pos:s.end]
				s.pos = s.end
				return v, nil
			}
			return nil, err
		}
	}
}

// An extent finds the end of a value whose bytes come in pieces.
type extent struct {
	i      int // bytes seen
	depth  int
	quoted bool
}

func (x *extent) scalar() bool { return x.depth == 0 && !x.quoted }

// scan continues in b, which begins with the value and grows from call to call.
// n is the length seen so far, or that of the whole value when done.
func (x *extent) scan(b []byte) (n int, done bool) {
	for x.i < len(b) {
		if x.quoted {
			j := bytes.IndexByte(b[x.i:], '"')
			if j < 0 {
				x.i = len(b)
				return x.i, false
			}
			x.i += j + 1
			if trailingBackslashes(b[:x.i-1])%2 == 1 {
				continue
			}
			x.quoted = false
			if x.depth == 0 {
				return x.i, true
			}
			continue
		}
		switch c := b[x.i]; c {
		case '"':
			x.quoted = true
		case '{', '[':
			x.depth++
		case '}', ']':
			if x.depth == 0 {
				return x.i, true // of the list around a scalar
			}
			if x.depth--; x.depth == 0 {
				return x.i + 1, true
			}
		case ',', ' ', '\t', '\r', '\n', ':':
			if x.depth == 0 {
				return x.i, true
			}
		}
		x.i++
	}
	return x.i, false
}

func trailingBackslashes(b []byte) (n int) {
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n
}
