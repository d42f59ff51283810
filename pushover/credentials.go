package pushover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Credentials are what a program keeps about its device from one start to the
// next. Printing them shows the device's name only.
type Credentials struct {
	Secret     Secret   // of the session, from [Client.Login]
	DeviceID   DeviceID // from [Client.RegisterDevice]
	DeviceName string   // for people; the service does not need it
}

const maxCredential = 256 // far beyond what the service gives out

// Validate reports whether both secrets are present and of a form that can be
// sent: at most 256 printable ASCII characters without space or colon, which
// separates them in the stream's login frame. It does not ask the service.
func (c Credentials) Validate() error {
	return errors.Join(
		validateCredential("session secret", string(c.Secret)),
		validateCredential("device id", string(c.DeviceID)))
}

func validateCredential(name, v string) error {
	switch {
	case v == "":
		return fmt.Errorf("credentials: %s is missing", name)
	case len(v) > maxCredential:
		return fmt.Errorf("credentials: %s has more than %d characters", name, maxCredential)
	case strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }):
		return fmt.Errorf("credentials: %s has a character that cannot be part of one", name)
	}
	return nil
}

type credentialsDocument struct {
	Secret     *string `json:"secret"`
	DeviceID   *string `json:"device_id"`
	DeviceName *string `json:"device_name"`
}

// ParseCredentials reads the JSON document {"secret", "device_id",
// "device_name"}; the name may be missing, other members are ignored. Errors
// say what is wrong and repeat nothing of the content.
func ParseCredentials(data []byte) (Credentials, error) {
	var d credentialsDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return Credentials{}, describeJSONError(data, err)
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	c := Credentials{Secret(text(d.Secret)), DeviceID(text(d.DeviceID)), text(d.DeviceName)}
	switch {
	case d.Secret == nil:
		return Credentials{}, errors.New(`credentials: member "secret" is missing`)
	case d.DeviceID == nil:
		return Credentials{}, errors.New(`credentials: member "device_id" is missing`)
	}
	if err := c.Validate(); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// describeJSONError says in which way a file is broken. The texts of encoding/json
// would quote from it.
func describeJSONError(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case len(strings.TrimSpace(string(data))) == 0:
		return errors.New("credentials: the document is empty")
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(data)):
		return errors.New("credentials: the document ends in the middle, as if half written")
	case errors.As(err, &syntax):
		return fmt.Errorf("credentials: not JSON, at byte %d", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("credentials: member %q is not a string", kind.Field)
	default:
		return errors.New("credentials: not a JSON object")
	}
}

// LoadCredentials reads a file as [Credentials.Save] writes it. Errors name the
// file and the remedy; errors.Is(err, fs.ErrNotExist) tells a missing one.
func LoadCredentials(path string) (Credentials, error) {
	data, err := os.ReadFile(path) // #nosec G304 -- the path is the caller's choice
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Credentials{}, fmt.Errorf("%w; log in to create it", err)
	case errors.Is(err, fs.ErrPermission):
		return Credentials{}, fmt.Errorf("%w; make it readable for the user that runs this program", err)
	case err != nil:
		return Credentials{}, err
	}
	c, err := ParseCredentials(data)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w; log in again to replace it", path, err)
	}
	return c, nil
}

// Encode returns the JSON document with the real values.
func (c Credentials) Encode() []byte {
	s, d := c.Secret.Reveal(), c.DeviceID.Reveal()
	out, _ := json.MarshalIndent(credentialsDocument{&s, &d, &c.DeviceName}, "", "  ") // strings always marshal
	return append(out, '\n')
}

// Save writes the document so that whatever happens, the file holds either the
// old content or the new: to a temporary file in the same directory, synced, and
// then renamed, and the rename synced where the system can. Mode is 0600; a
// missing directory is made with mode 0700. On Windows the modes mean nothing, and
// the directory's access rights count. If path is a symbolic link, the file it names
// is written, and the link stays.
func (c Credentials) Save(path string) error {
	path = linkTarget(path)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // has mode 0600
	if err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	_, err = f.Write(c.Encode())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("save credentials: %w", err)
	}
	return syncDir(dir)
}

// linkTarget follows symbolic links, to a file that may not be there yet.
func linkTarget(path string) string {
	for range 40 { // more than this the system refuses to follow as well
		next, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return path
}
