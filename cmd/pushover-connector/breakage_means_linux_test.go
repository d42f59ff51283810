package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// toSmallDisk has the program publish to its own NATS server on a disk that is
// easily filled.
func (s *scene) toSmallDisk() {
	s.t.Helper()
	if os.Geteuid() != 0 {
		s.t.Skip("NOT TESTED: only root can mount a small disk")
	}
	disk := filepath.Join(s.dir, "data")
	s.must(os.Mkdir(disk, 0o700))
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		s.t.Skipf("NOT TESTED: mount a small disk: %v", err)
	}
	s.t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			s.t.Errorf("unmount: %v", err)
		}
	})
	s.toEmbedded()
}

func (s *scene) filler() string { return filepath.Join(s.dir, "data", "filler") }

// fillDisk takes all that is free.
func (s *scene) fillDisk() {
	s.t.Helper()
	f, err := os.Create(s.filler())
	s.must(err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

func (s *scene) credentials() pushover.Credentials {
	s.t.Helper()
	creds, err := pushover.LoadCredentials(s.credentialsFile())
	s.must(err)
	return creds
}

func (s *scene) replaceCredentials(change func(*pushover.Credentials)) {
	s.t.Helper()
	creds := s.credentials()
	change(&creds)
	s.must(creds.Save(s.credentialsFile()))
}

// logInAgain does what the remedy says.
func (s *scene) logInAgain() {
	s.t.Helper()
	account := s.sim.Account()
	cmd := s.program([]string{"PUSHOVER_EMAIL=" + account.Email, "PUSHOVER_PASSWORD=" + account.Password}, "login")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("login: %v\n%s", err, out)
	}
}

// startTwin starts the program once more with the same credentials, on another
// Kafka cluster.
func (s *scene) startTwin() {
	s.t.Helper()
	twin := *s
	twin.toKafka()
	s.twin = s.start("", append(twin.settings, "HTTP_ADDR=")...)
}

// administer is an administrator's work on the Kafka cluster.
func (s *scene) administer(work func(*kadm.Client) error) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	s.must(err)
	defer client.Close()
	s.must(work(kadm.NewClient(client)))
}

// takeControlSubjects deletes the commands' stream and has another one take its
// subjects, so that the program cannot create it again. It tries to at once.
func (s *scene) takeControlSubjects() {
	s.t.Helper()
	s.eventually("the subjects to be taken", func() bool {
		if err := s.js.DeleteStream(s.within(), "PUSHOVER_CONTROL"); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			s.t.Fatal(err)
		}
		_, err := s.js.CreateStream(s.within(), jetstream.StreamConfig{Name: "FOREIGN", Subjects: []string{"pushover.control.>"}})
		return err == nil
	})
}

// unplug has the program start for the first time while the service cannot be
// reached: with an account, and without credentials.
func (s *scene) unplug() {
	s.t.Helper()
	s.must(os.Remove(s.credentialsFile()))
	s.unplugged, s.device = mustFreeAddress(s.t), "nas-2"
	account := s.sim.Account()
	s.settings = append(s.settings,
		"PUSHOVER_API_URL=http://"+s.unplugged, "PUSHOVER_STREAM_URL=ws://"+s.unplugged+"/push",
		"PUSHOVER_EMAIL="+account.Email, "PUSHOVER_PASSWORD="+account.Password, "PUSHOVER_DEVICE_NAME="+s.device)
}
