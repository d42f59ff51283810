package kafka

import (
	"context"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// mechanism returns the configured SASL mechanism, or nil for none, with the
// password of now.
func (d *dialer) mechanism() (sasl.Mechanism, error) {
	c := d.config
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	switch c.SASLMechanism {
	case mechanismPlain:
		return plain.Mechanism{Username: c.Username, Password: password}, nil
	case mechanismSHA256:
		return scram.Mechanism(scram.SHA256, c.Username, password)
	case mechanismSHA512:
		return scram.Mechanism(scram.SHA512, c.Username, password)
	case mechanismOAuth:
		return d.bearer, nil
	default:
		return nil, nil
	}
}

// bearer is SASL/OAUTHBEARER (RFC 7628), which kafka-go does not have.
type bearer struct {
	token      func(ctx context.Context) (string, error)
	extensions []string // name=value
}

func (b bearer) Name() string { return mechanismOAuth }

// Start sends the token, which is fetched again for each connection.
func (b bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, nil, err
	}
	first := "n,,\x01auth=Bearer " + token + "\x01"
	for _, pair := range b.extensions {
		first += strings.TrimSpace(pair) + "\x01"
	}
	return bearerSession{}, []byte(first + "\x01"), nil
}

type bearerSession struct{}

// Next is called with the server's answer: empty is success, anything else a
// JSON document of why not, to which the client must reply with a single
// control-A before the server fails the exchange (RFC 7628, section 3.2.3).
func (bearerSession) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) == 0 {
		return true, nil, nil
	}
	return false, []byte{1}, nil
}
