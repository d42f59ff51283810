package pushover

import (
	"encoding/json"
	"time"
)

// A Message is one message as the service delivered it. All of it is written by
// whoever sent it: anyone with an application token and the user's key. Field
// names and meanings follow https://pushover.net/api/client#download.
//
// Text fields are empty and times zero when absent, null or unreadable; Raw has
// what was really there.
type Message struct {
	ID   MessageID // unique within the device's queue
	UMID int64     // the same for all devices of the user that got the message; 0 if absent

	App   string // application name; not unique
	AppID int64  // unique application id; 0 if absent
	Title string // may be empty: see Heading
	Text  string // the body; HTML if HTML is set, ciphertext if Encrypted is
	Icon  string // name for [Client.Icon]
	Sound string // a code such as "po"; see [SoundName]

	URL      string // supplementary link, of any scheme
	URLTitle string // its label

	Sent       time.Time // when the service took it in, or the sender's own time: any time at all
	Queued     time.Time // when it was queued for this device
	Dispatched time.Time // when it was handed to the push service
	Expires    time.Time // when a local copy should be deleted, if the sender set a time to live

	Priority     Priority
	HTML         bool
	Monospace    bool
	Acked        bool    // an emergency that somebody has acknowledged already
	Receipt      Receipt // of an emergency, for [Client.Acknowledge]; form not checked
	Subscription string  // set if it came through a subscription

	Encrypted bool // Title, Text, URL and URLTitle, or some of them, are end-to-end encrypted
	Decrypted bool // Text was, and Message.Decrypt has put the clear text in place

	// PlainFields are those of message, title, url and url_title that came in the
	// clear in an encrypted message: nobody has authenticated them. Decrypt sets it.
	PlainFields []string

	// Raw is the message's JSON object as received, unknown fields included. It
	// is valid JSON. Decrypt leaves it alone.
	Raw json.RawMessage
}

// Heading returns what to show as title: the title, or the application's name
// if there is none.
func (m Message) Heading() string {
	if m.Title != "" {
		return m.Title
	}
	return m.App
}

// User is what a download says about the account. Every part may be missing.
// Personal data is redacted in printing.
type User struct {
	QuietHours      bool      // quiet hours are on now: show normal priority as low
	QuietUntil      time.Time // end of a temporary silence; zero if there is none
	DesktopLicensed *bool     // the licence an Open Client needs after the trial; nil if not stated
	AndroidLicensed *bool     // nil if not stated
	IOSLicensed     *bool     // nil if not stated
	Created         time.Time // of the account
	Email           Secret    // personal
	EmailAlias      Secret    // lets anyone send to the account by e-mail
}

// Device is what a download says about the device it was made for. Every part
// may be missing.
type Device struct {
	Name                              string
	EID                               string // meaning unknown, seen since 2026
	DefaultSound                      string // code to play for a message without one
	DefaultHighPrioritySound          string
	AlwaysUseDefaultSound             bool // ignore the sender's choice
	AlwaysUseDefaultHighPrioritySound bool
	EncryptionEnabled                 bool // between the service and mobile apps; false for Open Clients
	DismissalSync                     bool
}

// A Batch is the outcome of one download.
type Batch struct {
	// Messages ascend by id, without repetition. They are the lowest ids of the
	// download, so that deleting through the last of them deletes nothing of it
	// unseen. That the service itself sends the lowest of its queue first is seen,
	// and not documented.
	Messages []Message

	// Settled is the highest id of Messages that a deletion may go through, 0 if
	// there is none. Ids order time to the second only: until a few seconds after a
	// message has come in, another may follow with a lower id, and a deletion would
	// take it along unseen. What is above Settled stays in the queue, until a later
	// download has a higher Settled and shows what has come in below it meanwhile. A
	// download begun after SettlesIn settles all of Messages; SettlesIn is 0 if
	// waiting would not help: nothing of Messages is above Settled, or only ids that
	// cannot be true.
	Settled   MessageID
	SettlesIn time.Duration

	// More says that [Options.MaxBatch] or [Options.MaxBatchBytes] cut the
	// download: delete these and download again.
	More bool

	User   User
	Device Device
	Sounds map[string]string // code to name, if the service sent such a list
}

// Last returns the highest id of the batch, 0 if it is empty.
func (b *Batch) Last() MessageID {
	if len(b.Messages) == 0 {
		return 0
	}
	return b.Messages[len(b.Messages)-1].ID
}

// soundNames was collected by the authors of other clients; the service does not
// document it.
var soundNames = map[string]string{
	"po": "pushover", "bk": "bike", "bu": "bugle", "ch": "cashregister", "cl": "classical",
	"co": "cosmic", "fa": "falling", "gl": "gamelan", "ic": "incoming", "im": "intermission",
	"ma": "magic", "mc": "mechanical", "pn": "pianobar", "si": "siren", "sp": "spacealarm",
	"tg": "tugboat", "ln": "alien", "mb": "climb", "ps": "persistent", "ec": "echo",
	"ud": "updown", "no": "none",
}

// SoundName returns the name senders use for a sound code that came with a
// message, such as "pushover" for "po", and "" for a code that is not known.
func SoundName(code string) string { return soundNames[code] }
