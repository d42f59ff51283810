package pushover_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// simulator starts a service in memory in place of the real one, with one device.
// A program that talks to the real one leaves APIURL, StreamURL and DialContext out.
func simulator() (*pushovertest.Server, pushover.Options) {
	sim := pushovertest.New(pushovertest.Options{})
	sim.StartPipe()
	device := sim.AddDevice("nas-1")
	return sim, pushover.Options{
		APIURL: sim.APIURL(), StreamURL: sim.StreamURL(), DialContext: sim.DialContext,
		UserAgent: "example/1.0",
		Credentials: pushover.Credentials{
			Secret: pushover.Secret(device.Secret), DeviceID: pushover.DeviceID(device.ID), DeviceName: device.Name,
		},
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A receiving program, once it has credentials.
func Example() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()

	sim.Send(pushovertest.Outgoing{Title: "Backup", Message: "42 files"})
	sim.Send(pushovertest.Outgoing{App: "Door", Message: "open", Priority: 1})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // Ctrl-C ends it
	defer stop()
	left := 2
	err = client.Listen(ctx, func(_ context.Context, m pushover.Message) error {
		fmt.Printf("%s: %s (%s)\n", m.Heading(), m.Text, m.Priority)
		if left--; left == 0 {
			stop() // here, for there is nobody to press it
		}
		return nil // accepted: it will be deleted
	})
	fmt.Println(err)
	// Output:
	// Backup: 42 files (normal)
	// Door: open (high)
	// context canceled
}

// Logging in happens once. The secret serves until the service rejects it.
func ExampleClient_Login() {
	sim, options := simulator()
	defer sim.Close()
	account := sim.AddAccount("you@example.org", "a good password", true) // with two-factor login
	client, err := pushover.New(options)
	check(err)
	defer client.Close()

	ctx := context.Background()
	got, err := client.Login(ctx, "you@example.org", "a good password", "")
	if errors.Is(err, pushover.ErrTwoFactorNeeded) {
		fmt.Println("code?")
		got, err = client.Login(ctx, "you@example.org", "a good password", account.Code())
	}
	check(err)
	fmt.Println(got)
	// Output:
	// code?
	// {UserKey:REDACTED Secret:REDACTED}
}

// From a password to a device that can be listened on.
func ExampleClient_Enroll() {
	sim, options := simulator()
	defer sim.Close()
	account := sim.AddAccount("you@example.org", "a good password", true) // with two-factor login
	options.Credentials = pushover.Credentials{}
	client, err := pushover.New(options)
	check(err)
	defer client.Close()

	credentials, err := client.Enroll(context.Background(), pushover.Enrollment{
		Email: "you@example.org", Password: "a good password", DeviceName: "nas-2",
		TwoFactor: func(context.Context) (string, error) {
			fmt.Println("code?")
			return account.Code(), nil
		},
	})
	check(err)
	fmt.Println(credentials) // and credentials.Save(path)
	// Output:
	// code?
	// {REDACTED REDACTED nas-2}
}

// Registering makes a new device. Its credentials are stored at once, since a
// device whose id is lost keeps its name for good.
func ExampleClient_RegisterDevice() {
	sim, options := simulator()
	defer sim.Close()
	ctx := context.Background()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()
	account, err := client.Login(ctx, sim.Account().Email, pushover.Secret(sim.Account().Password), "")
	check(err)

	credentials := pushover.Credentials{Secret: account.Secret, DeviceName: "nas-2"}
	_, err = client.WithCredentials(credentials).RegisterDevice(ctx, "nas-1")
	fmt.Println(errors.Is(err, pushover.ErrDeviceNameTaken))

	credentials.DeviceID, err = client.WithCredentials(credentials).RegisterDevice(ctx, "nas-2")
	check(err)
	dir, err := os.MkdirTemp("", "example")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "credentials.json")
	check(credentials.Save(path))

	// At every later start:
	stored, err := pushover.LoadCredentials(path)
	check(err)
	batch, err := client.WithCredentials(stored).Download(ctx)
	check(err)
	fmt.Println(batch.Device.Name, batch.Messages[0].Title)
	// Output:
	// true
	// nas-2 Welcome to Pushover!
}

// One download, as retrieve_message of py_pushover.
func ExampleClient_Download() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()
	sim.SendN(3, pushovertest.Outgoing{Message: "message {n}"})

	batch, err := client.Download(context.Background())
	check(err)
	for _, m := range batch.Messages {
		fmt.Println(m.Text)
	}
	fmt.Println(len(sim.Queue("nas-1")), "still on the server")
	// Output:
	// message 1
	// message 2
	// message 3
	// 3 still on the server
}

// Downloading until the queue is empty, and deleting what was dealt with.
func ExampleClient_Messages() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()
	sim.SendN(2500, pushovertest.Outgoing{Message: "message {n}", Queued: time.Now().Add(-time.Hour)})

	ctx, total := context.Background(), 0
	for batch, err := range client.Messages(ctx) {
		check(err)
		total += len(batch.Messages) // store them durably here, and only then:
		if batch.Settled > 0 {       // later ones come again in the next batch
			check(client.DeleteThrough(ctx, batch.Settled))
		}
	}
	fmt.Println(total, "handled,", len(sim.Queue("nas-1")), "left")
	// Output: 2500 handled, 0 left
}

// Deleting, as clear_server_messages of py_pushover, but only through the
// last message that is safely dealt with.
func ExampleClient_DeleteThrough() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()
	sim.SendN(3, pushovertest.Outgoing{Message: "message {n}"})

	ctx := context.Background()
	batch, err := client.Download(ctx)
	check(err)
	check(client.DeleteThrough(ctx, batch.Messages[1].ID))
	batch, err = client.Download(ctx)
	check(err)
	fmt.Println(len(batch.Messages), batch.Messages[0].Text)
	// Output: 1 message 3
}

// Acknowledging an emergency, on somebody's decision.
func ExampleClient_Acknowledge() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()
	sent := sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})

	ctx := context.Background()
	batch, err := client.Download(ctx)
	check(err)
	m := batch.Messages[0]
	if m.Priority == pushover.PriorityEmergency && !m.Acked {
		check(client.Acknowledge(ctx, m.Receipt))
	}
	state, _ := sim.Receipt(sent.Receipt)
	fmt.Println("acknowledged by", state.AcknowledgedByDevice)
	// Output: acknowledged by nas-1
}

// Listening until the context ends. A message that cannot be handled now is
// refused and comes again.
func ExampleClient_Listen() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()
	sim.SendN(2, pushovertest.Outgoing{Message: "message {n}", Queued: time.Now().Add(-time.Hour)})

	ctx, cancel := context.WithCancelCause(context.Background())
	err = client.Listen(ctx, func(_ context.Context, m pushover.Message) error {
		if m.Text == "message 2" {
			cancel(errors.New("done"))
			return errors.New("disk full")
		}
		fmt.Println(m.Text)
		return nil
	})
	fmt.Println(err, len(sim.Queue("nas-1")))
	// Output:
	// message 1
	// done 1
}

// Listening beside other work, as listen_async and stop_listening of py_pushover.
func ExampleClient_StartListening() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()

	arrived := make(chan string)
	listening := client.StartListening(context.Background(), func(_ context.Context, m pushover.Message) error {
		arrived <- m.Text
		return nil
	})
	sim.Send(pushovertest.Outgoing{Message: "hello", Queued: time.Now().Add(-time.Hour)})
	fmt.Println(<-arrived)

	err = listening.Stop() // finishes the message in hand
	fmt.Println(err, len(sim.Queue("nas-1")))
	// Output:
	// hello
	// <nil> 0
}

// Following the stream alone, for a program with its own order of work.
func ExampleClient_Follow() {
	sim, options := simulator()
	defer sim.Close()
	client, err := pushover.New(options)
	check(err)
	defer client.Close()

	wake := make(chan struct{}, 1) // wake-ups coalesce
	ended := make(chan error)
	go func() {
		ended <- client.Follow(context.Background(), pushover.Follower{
			Wake: func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			},
		})
	}()
	<-wake
	fmt.Println("connected: download everything now")
	check(sim.Wait(context.Background(), func(s pushovertest.State) bool { return s.Device("nas-1").Connected }))
	sim.Signal("nas-1", "A")
	fmt.Println(<-ended)
	// Output:
	// connected: download everything now
	// device was taken over by another session
}

func ExampleMessage_Decrypt() {
	key, err := pushover.ParseE2EEKey("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	check(err)
	m := pushover.Message{Encrypted: true, Text: "8PHy8/T19vf4+fr7/P3+/7IeVeuVNjtGe+jjvoCV5TMR5Al2385gxbkhZ/f81zTQm3//" +
		"Ee2/JVUqWfOaRulfaeIWVRb+SjdXud17O0yi8hr9uxt55EWwAOCATqcCg5MhE0ZaisW8yug8Y2A4tem3bA=="}
	m, err = m.Decrypt([]pushover.E2EEKey{key})
	fmt.Println(m.Text, err)
	// Output: Backup of “nas-1” finished: 42 files ✔ <nil>
}
