package kafka_test

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ends returns the offset after the last record of each partition. A marker of
// a transaction takes an offset too, and a consumer that keeps control records
// sees it.
func ends(ctx context.Context, cl *kgo.Client, topic string, committed bool) (map[int32]int64, error) {
	adm := kadm.NewClient(cl)
	list := adm.ListEndOffsets
	if committed {
		list = adm.ListCommittedOffsets
	}
	res, err := list(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := res.Error(); err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, p := range res[topic] {
		out[p.Partition] = p.Offset
	}
	return out, nil
}
