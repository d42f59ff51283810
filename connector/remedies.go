package connector

import (
	"cmp"
	"errors"
)

// Remedies say in the words of an installation how its credentials are replaced.
// Each is a clause such as "run 'pushover-connector login'"; an empty one stands
// for a general one.
type Remedies struct {
	Secret string // renews the session secret of the same device
	Device string // registers a device in place of one that was removed
	Resume string // starts the session again once the cause is gone
}

func (r Remedies) withDefaults() Remedies {
	setDefault(&r.Secret, "log in again and replace the old credentials")
	setDefault(&r.Device, "register a new device and replace the old credentials")
	setDefault(&r.Resume, "restart the connector")
	return r
}

// Explain classifies an error of a session and says what mends it. licensed is
// what the service last said about the account's licence, nil if it did not.
func (r Remedies) Explain(err error, licensed *bool) Failure {
	r = r.withDefaults()
	f := failureOf(err)
	switch f.Reason {
	case ReasonTakenOver:
		f.Detail = "another program logged in as this device (signal A)"
		f.Remedy = "stop the other program using these credentials, or register it as its own device; then " + r.Resume
	case ReasonFenced:
		f.Remedy = "stop the other connector for this device, then restart this one"
	case ReasonRefusedSecret:
		f.Remedy = r.Secret
	case ReasonRefusedDevice:
		f.Remedy = r.Device
	case ReasonDisabled:
		f.Remedy = cmp.Or(f.Remedy, "enable the device in the Pushover dashboard, or buy the licence if the trial is over (https://pushover.net/clients/desktop); then "+r.Resume)
	}
	if errors.Is(err, errNoCredentials) {
		f.Reason, f.Remedy = ReasonNoCredentials, r.Secret
	}
	if licensed != nil && !*licensed && f.Reason == ReasonDisabled {
		f.Reason = ReasonUnlicensed
		f.Detail = "the device is disabled and the account has no Pushover for Desktop licence, so the trial may be over: " + f.Detail
		f.Remedy = "buy the licence at https://pushover.net/clients/desktop, then " + r.Resume
	}
	return f
}
