package kafkatest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
)

// drawn are the ports this process has drawn: a node may be stopped, and must
// find its ports free when it starts again.
var drawn struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort returns a port of the loopback interface that nobody listens on, and
// that no other call in this process returns. It lies below the range from which
// systems take ports for outgoing connections: otherwise such a connection could
// take it while its node is stopped.
func FreePort() (int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// freePorts draws n ports. They are held until all are drawn, so that processes
// that draw at the same time draw different ones.
func freePorts(n int) (ports []int, err error) {
	drawn.Lock()
	defer drawn.Unlock()
	if drawn.ports == nil {
		drawn.ports = map[int]bool{}
	}
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	for range 100 * n {
		if len(ports) == n {
			return ports, nil
		}
		i, err := rand.Int(rand.Reader, big.NewInt(10_000))
		if err != nil {
			return nil, err
		}
		port := 20_000 + int(i.Int64())
		if drawn.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // taken
		}
		held = append(held, l)
		drawn.ports[port] = true
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, errors.New("no free port")
	}
	return ports, nil
}
