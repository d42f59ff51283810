// Command archive-go keeps every alarm in a SQLite file, once:
//
//	NATS_URL=nats://127.0.0.1:4222 archive-go -db alarms.db nats
//	KAFKA_BROKERS=127.0.0.1:9092 archive-go -db alarms.db -from end kafka
//
// It may be killed at any time: an alarm and the position after it are written in
// one transaction, so that the next start continues where the table ends. To use
// one bus alone, leave the other's file out.
//
// It ends when the bus is in trouble that the client does not get over: let
// systemd or Kubernetes start it again.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	_ "modernc.org/sqlite" // the driver
)

const schema = `
CREATE TABLE IF NOT EXISTS alarm (
	source TEXT, id TEXT, recorded TEXT, expires TEXT, repeat_of TEXT, stale INTEGER, data TEXT,
	PRIMARY KEY (source, id));
CREATE TABLE IF NOT EXISTS position (log TEXT PRIMARY KEY, next INTEGER)`

// An event is what is read of a CloudEvent.
type event struct {
	Source, ID               string
	RecordedTime, ExpiryTime string
	Data                     json.RawMessage
}

type archive struct {
	db      *sql.DB
	fromEnd bool // a first start leaves out what is in the log already
}

func main() {
	file := flag.String("db", "alarms.db", "SQLite file")
	from := flag.String("from", "beginning", "of the log, or its end, where a first start begins")
	flag.Parse()
	read, ok := map[string]func(context.Context, archive) error{"nats": readNATS, "kafka": readKafka}[flag.Arg(0)]
	if !ok || flag.NArg() != 1 || *from != "beginning" && *from != "end" {
		fmt.Fprintln(os.Stderr, "usage: archive-go [-db FILE] [-from beginning or end] nats or kafka")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	db, err := sql.Open("sqlite", *file+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	if err == nil {
		if _, err = db.ExecContext(ctx, schema); err == nil {
			err = read(ctx, archive{db, *from == "end"})
		}
		err = errors.Join(err, db.Close())
	}
	stopped := ctx.Err() != nil
	stop()
	if err != nil && !stopped {
		fmt.Fprintln(os.Stderr, "archive-go:", err)
		os.Exit(1)
	}
}

// start returns where in a log to go on, and remembers the first answer: what
// comes after it is not left out, however often this program is killed.
func (a archive) start(ctx context.Context, log string, beginning, end int64) (next int64, err error) {
	if a.fromEnd {
		beginning = end
	}
	if _, err := a.db.ExecContext(ctx, `INSERT OR IGNORE INTO position VALUES (?, ?)`, log, beginning); err != nil {
		return 0, err
	}
	return next, a.db.QueryRowContext(ctx, `SELECT next FROM position WHERE log = ?`, log).Scan(&next)
}

// store writes an alarm, and where the record after it is: both or neither.
func (a archive) store(ctx context.Context, log string, next int64, attribute func(string) string, body []byte) error {
	e, err := decode(attribute, body)
	if err != nil { // somebody else's record must not hold up all that come after it
		fmt.Fprintf(os.Stderr, "archive-go: left out what is before %d in %s, which is not an event: %v\n", next, log, err)
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if e.ID != "" {
		// An event is known by source and id together, also if the log has it twice.
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO alarm
			VALUES (?1, ?2, ?3, ?4, json_extract(?5, '$.repeat_of'), coalesce(json_extract(?5, '$.stale'), 0), ?5)`,
			e.Source, e.ID, e.RecordedTime, e.ExpiryTime, string(e.Data)); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE position SET next = ? WHERE log = ?`, next, log); err != nil {
		return err
	}
	return tx.Commit()
}

// decode reads both content modes: in structured mode the body has everything, in
// binary mode the attributes are headers and the body is the data.
func decode(attribute func(string) string, body []byte) (e event, err error) {
	if id := attribute("id"); id != "" {
		e = event{attribute("source"), id, attribute("recordedtime"), attribute("expirytime"), body}
	} else if err := json.Unmarshal(body, &e); err != nil {
		return event{}, err
	}
	if e.ID == "" || e.Source == "" || !json.Valid(e.Data) {
		return event{}, errors.New("it has no id, no source or no data")
	}
	return e, nil
}
