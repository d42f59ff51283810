package pushover

import (
	"context"
	"errors"
	"fmt"
)

// An Enrollment is what [Client.Enroll] needs to know.
type Enrollment struct {
	Email    string
	Password Secret

	// DeviceName is that of the device to make: see [Client.RegisterDevice].
	DeviceName string

	// TwoFactor is asked for the current code if the account has two-factor
	// login, and again, at most twice, if a code was wrong. Nil means that the
	// error is [ErrTwoFactorNeeded].
	TwoFactor func(ctx context.Context) (string, error)
}

// maxCodes is how many two-factor codes are tried.
const maxCodes = 3

// Enroll goes from a password to the credentials of a new device: it logs in,
// unless the Client has a secret already, and registers the device. Store what it
// returns at once, also beside an error: if only the device is missing (its name
// may be taken), a Client from [Client.WithCredentials] with the secret goes on
// from there, without another login. The device's queue then holds a welcome
// message, see [Client.DeleteWelcome].
func (c *Client) Enroll(ctx context.Context, e Enrollment) (Credentials, error) {
	creds := Credentials{Secret: c.o.Credentials.Secret, DeviceName: e.DeviceName}
	if !validDeviceName(e.DeviceName) { // before a login for nothing
		return creds, fmt.Errorf("register: %w", ErrDeviceNameInvalid)
	}
	if creds.Secret == "" {
		account, err := c.loginWithCodes(ctx, e)
		if err != nil {
			return creds, err
		}
		creds.Secret = account.Secret
	}
	var err error
	creds.DeviceID, err = c.WithCredentials(creds).RegisterDevice(ctx, e.DeviceName)
	return creds, err
}

func (c *Client) loginWithCodes(ctx context.Context, e Enrollment) (Account, error) {
	account, err := c.Login(ctx, e.Email, e.Password, "")
	for range maxCodes {
		if e.TwoFactor == nil || !errors.Is(err, ErrTwoFactorNeeded) && !errors.Is(err, ErrTwoFactorWrong) {
			break
		}
		var code string
		if code, err = e.TwoFactor(ctx); err != nil {
			return Account{}, fmt.Errorf("two-factor code: %w", err)
		}
		account, err = c.Login(ctx, e.Email, e.Password, code)
	}
	return account, err
}

// welcomeAppID is the application that Pushover itself sends from.
const welcomeAppID = 1

// DeleteWelcome deletes the message that greets a newly registered device, if it
// is the first in the queue. Whatever waits behind it stays. It takes a few
// seconds, until the message has settled ([Batch.Settled]), and deletes nothing if
// another message turns out to be before it.
func (c *Client) DeleteWelcome(ctx context.Context) error {
	for {
		b, err := c.Download(ctx)
		if err != nil {
			return fmt.Errorf("look for the welcome message: %w", err)
		}
		switch {
		case len(b.Messages) == 0 || b.Messages[0].AppID != welcomeAppID:
			return nil
		case b.Messages[0].ID <= b.Settled:
			return c.DeleteThrough(ctx, b.Messages[0].ID)
		case b.SettlesIn == 0:
			return nil
		case !wait(ctx, b.SettlesIn):
			return fmt.Errorf("wait for the welcome message to settle: %w", context.Cause(ctx))
		}
	}
}
