package pushovertest

import (
	"errors"
	"fmt"
	"time"
)

// Control calls that change who is there and how the service behaves.

func (s *Server) controlAccounts(body []byte) (any, error) {
	var in struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		TwoFA    bool   `json:"twofa"`
	}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Email == "":
		return nil, errors.New("email: is required")
	case in.Password == "":
		return nil, errors.New("password: is required")
	}
	return s.Describe(s.AddAccount(in.Email, in.Password, in.TwoFA)), nil
}

func (s *Server) controlGroups(body []byte) (any, error) {
	var in struct {
		Emails []string `json:"emails"`
	}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	if len(in.Emails) == 0 {
		return nil, errors.New("emails: is required")
	}
	var members []Account
	for _, email := range in.Emails {
		s.mu.Lock()
		a := s.accountByEmail(email)
		s.mu.Unlock()
		if a == nil {
			return nil, fmt.Errorf("emails: no account %q", email)
		}
		members = append(members, Account{Email: email})
	}
	return struct {
		GroupKey string `json:"group_key"`
	}{s.AddGroup(members...)}, nil
}

func (s *Server) controlDevices(body []byte) (any, error) {
	var in struct {
		Name     string `json:"name"`
		Disabled *bool  `json:"disabled"`
		Remove   bool   `json:"remove"`
	}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := in.Name != "" && len(s.named(in.Name)) > 0
	s.mu.Unlock()
	switch {
	case !known:
		return nil, fmt.Errorf("name: no device %q", in.Name)
	case in.Remove:
		s.RemoveDevice(in.Name)
	case in.Disabled == nil:
		return nil, errors.New("disabled: is required, or remove")
	default:
		s.DisableDevice(in.Name, *in.Disabled)
	}
	return done{true}, nil
}

func (s *Server) controlSettings(body []byte) (any, error) {
	var in struct {
		Licensed    *bool       `json:"licensed"`
		KeepAlive   *bool       `json:"keepalive"`
		Order       *Order      `json:"order"`
		OmitStrings *bool       `json:"omit_strings"`
		LooseIDs    *bool       `json:"loose_ids"`
		QuietHours  *bool       `json:"quiet_hours"`
		ErrorShape  *ErrorShape `json:"error_shape"`
		RetryMode   *RetryMode  `json:"retry_mode"`
		PageSize    *int        `json:"page_size"`
		Revoke      *string     `json:"revoke"`
	}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Order != nil && *in.Order != Ascending && *in.Order != Descending && *in.Order != Shuffled:
		return nil, fmt.Errorf("order: %q is none of ascending, descending, shuffled", *in.Order)
	case in.ErrorShape != nil && *in.ErrorShape != ErrorsAsObserved && *in.ErrorShape != ErrorsAsList && *in.ErrorShape != ErrorsAsObject:
		return nil, fmt.Errorf("error_shape: %q is none of list, object and the empty string", *in.ErrorShape)
	case in.RetryMode != nil && *in.RetryMode != RetrySignal && *in.RetryMode != RetryMessage:
		return nil, fmt.Errorf("retry_mode: %q is none of signal, message", *in.RetryMode)
	case in.PageSize != nil && (*in.PageSize < -1 || *in.PageSize == 0):
		return nil, fmt.Errorf("page_size: %d is neither positive nor -1", *in.PageSize)
	}
	set(in.Licensed, s.SetLicensed)
	set(in.KeepAlive, func(on bool) { s.StopKeepAlive(!on) })
	set(in.Order, s.SetOrder)
	set(in.OmitStrings, s.OmitStrings)
	set(in.LooseIDs, s.LooseIDs)
	set(in.QuietHours, func(on bool) { s.SetQuiet(on, time.Time{}) })
	set(in.ErrorShape, s.SetErrorShape)
	set(in.RetryMode, s.SetRetryMode)
	set(in.PageSize, s.SetPageSize)
	set(in.Revoke, s.RevokeSecret)
	return done{true}, nil
}

func set[T any](v *T, apply func(T)) {
	if v != nil {
		apply(*v)
	}
}
