package kafka

import (
	"context"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// newMechanism returns the configured SASL mechanism, or nil for none.
func newMechanism(c Config) (sasl.Mechanism, error) {
	switch c.SASLMechanism {
	case mechanismPlain:
		return plain.Mechanism{Username: c.Username, Password: c.Password.Reveal()}, nil
	case mechanismSHA256:
		return scram.Mechanism(scram.SHA256, c.Username, c.Password.Reveal())
	case mechanismSHA512:
		return scram.Mechanism(scram.SHA512, c.Username, c.Password.Reveal())
	case mechanismOAuth:
		return newOAuth(c), nil
	default:
		return nil, nil
	}
}

// bearer is SASL/OAUTHBEARER (RFC 7628), which kafka-go does not have.
type bearer struct {
	token func(ctx context.Context) (string, error)
}

func (b bearer) Name() string { return mechanismOAuth }

// Start sends the token, which is fetched again for each connection.
func (b bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, nil, err
	}
	return bearerSession{}, []byte("n,,\x01auth=Bearer " + token + "\x01\x01"), nil
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
