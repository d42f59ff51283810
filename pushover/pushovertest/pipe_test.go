package pushovertest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func pair() (client, server *pipeConn) {
	n := &pipeNet{}
	return newPipe(n.addresses(80))
}

func TestPipeCarriesMoreThanItBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair()
		sent := bytes.Repeat([]byte("0123456789"), 100_000)
		go func() {
			if n, err := client.Write(sent); n != len(sent) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
			_ = client.Close()
		}()
		synctest.Wait()
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, %v; want %d", len(got), err, len(sent))
		}
	})
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := pair()
		start := time.Now()
		_ = client.SetDeadline(start.Add(time.Second))
		var b [1]byte
		_, err := client.Read(b[:])
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != time.Second {
			t.Errorf("read: got %v after %v", err, time.Since(start))
		}
		if n, err := client.Write(make([]byte, bufferSize+1)); !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 {
			t.Errorf("write past the deadline: got %d, %v", n, err)
		}
		_ = client.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := client.Write(make([]byte, bufferSize+1)); !errors.Is(err, os.ErrDeadlineExceeded) || n != bufferSize {
			t.Errorf("write: got %d, %v", n, err)
		}
	})
}

func TestPipeDeadlineReachesAReaderThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := pair()
		failed := make(chan error)
		go func() {
			var b [1]byte
			_, err := client.Read(b[:])
			failed <- err
		}()
		synctest.Wait()
		_ = client.SetReadDeadline(time.Now())
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPipeClosed(t *testing.T) {
	client, server := pair()
	_, _ = client.Write([]byte("last"))
	_ = client.Close()
	var b [10]byte
	if n, err := server.Read(b[:]); n != 4 || err != nil {
		t.Errorf("what was written before: got %d, %v", n, err)
	}
	if _, err := server.Read(b[:]); !errors.Is(err, io.EOF) {
		t.Errorf("then: got %v, want EOF", err)
	}
	if _, err := server.Write(b[:]); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to a closed peer: got %v", err)
	}
	if _, err := client.Read(b[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read from the closed end: got %v", err)
	}
}
