package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
)

// fetch reads once from an offset on, waiting at most wait for a first record,
// and returns the offset to go on from. Records of transactions' bookkeeping
// are passed over, and with [kafka.ReadCommitted] those of aborted transactions
// too. kafka-go's Fetch does not say which these are.
func (b *Bus) fetch(ctx context.Context, name string, partition int, offset int64, wait time.Duration, isolation kafka.IsolationLevel, f func(*kafka.Record) error) (next int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := b.wire.RoundTrip(ctx, nil, &fetchapi.Request{
		ReplicaID: -1, MaxWaitTime: int32(wait / time.Millisecond), MinBytes: 1, MaxBytes: fetchBytes,
		IsolationLevel: int8(isolation), SessionID: -1, SessionEpoch: -1,
		Topics: []fetchapi.RequestTopic{{
			Topic: name,
			Partitions: []fetchapi.RequestPartition{{
				Partition: int32(partition), CurrentLeaderEpoch: -1, FetchOffset: offset, LogStartOffset: -1, PartitionMaxBytes: fetchBytes,
			}},
		}},
	})
	if err != nil {
		return offset, b.explain(fmt.Errorf("fetch %s/%d: %w", name, partition, err), name)
	}
	res := m.(*fetchapi.Response)
	code := kafka.Error(res.ErrorCode)
	var p fetchapi.ResponsePartition
	switch {
	case code != 0:
	case len(res.Topics) == 0 || len(res.Topics[0].Partitions) == 0:
		return offset, fmt.Errorf("fetch %s/%d: empty answer", name, partition)
	default:
		p = res.Topics[0].Partitions[0]
		code = kafka.Error(p.ErrorCode)
	}
	if code != 0 {
		b.wire.forget()
		return offset, b.explain(fmt.Errorf("fetch %s/%d: %w", name, partition, code), name)
	}
	stream, ok := p.RecordSet.Records.(*protocol.RecordStream)
	if !ok {
		return offset, nil
	}
	next = offset
	aborted := abortedTransactions{left: p.AbortedTransactions, open: map[int64]bool{}}
	for _, set := range stream.Records {
		_, control := set.(*protocol.ControlBatch)
		skip := control || aborted.hold(set)
		if err := eachRecord(set, func(r *kafka.Record) error {
			if control {
				aborted.end(set, r)
			}
			if r.Offset < offset {
				return nil // the batch began before the offset asked for
			}
			next = r.Offset + 1
			if skip {
				return nil
			}
			return f(r)
		}); err != nil {
			return next, err
		}
	}
	if next == offset && len(stream.Records) > 0 {
		next++ // compaction left a batch without records here
	}
	return next, nil
}

// abortedTransactions tells which batches of an answer belong to transactions
// that were aborted. A broker lists these transactions by their producer and
// first offset; a marker in the log ends each (KIP-98).
type abortedTransactions struct {
	left []fetchapi.ResponseTransaction
	open map[int64]bool // by producer id
}

// hold tells whether a batch is part of one. Batches must come in log order.
func (a *abortedTransactions) hold(set protocol.RecordReader) bool {
	batch, ok := set.(*protocol.RecordBatch)
	if !ok || !batch.Attributes.Transactional() {
		return false
	}
	a.advance(batch.BaseOffset)
	return a.open[batch.ProducerID]
}

// end notes a record of a control batch. Its key is a version and a type, two
// bytes each; type 0 ends an aborted transaction, 1 a committed one.
func (a *abortedTransactions) end(set protocol.RecordReader, r *kafka.Record) {
	batch, ok := set.(*protocol.ControlBatch)
	if !ok {
		return
	}
	a.advance(batch.BaseOffset)
	key, err := readAll(r.Key)
	if err == nil && len(key) == 4 && binary.BigEndian.Uint16(key[2:]) == 0 {
		delete(a.open, batch.ProducerID)
	}
}

// advance opens the transactions that have begun by offset.
func (a *abortedTransactions) advance(offset int64) {
	var later []fetchapi.ResponseTransaction
	for _, t := range a.left {
		if t.FirstOffset <= offset {
			a.open[t.ProducerID] = true
		} else {
			later = append(later, t)
		}
	}
	a.left = later
}

// eachRecord calls f for every record of a set and gives its pages back.
func eachRecord(set protocol.RecordReader, f func(*kafka.Record) error) error {
	var failed error
	for {
		r, err := set.ReadRecord()
		if errors.Is(err, io.EOF) {
			return failed
		}
		if err != nil {
			return errors.Join(failed, err)
		}
		if failed == nil {
			failed = f(r)
		}
		if r.Key != nil {
			_ = r.Key.Close()
		}
		if r.Value != nil {
			_ = r.Value.Close()
		}
	}
}
