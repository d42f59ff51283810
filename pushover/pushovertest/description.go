package pushovertest

// A Description is what a program needs to use a running service: the line
// that the command pushover-sim prints, and the answer of POST /sim/accounts.
// It holds the account's secrets.
type Description struct {
	APIURL    string `json:"api_url"`
	StreamURL string `json:"stream_url"`
	TLSAddr   string `json:"tls_addr"`
	// CAFile is where the authority's certificate was written, see [Server.SetCAFile].
	CAFile     string `json:"ca_file"`
	Email      string `json:"email"`
	Password   string `json:"password"`
	TOTPSecret string `json:"totp_secret"`
	UserKey    string `json:"user_key"`
	AppToken   string `json:"app_token"`
}

// SetCAFile tells where [Server.CAPEM] was written, for Describe.
func (s *Server) SetCAFile(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caFile = path
}

// Describe returns addresses of the running service and one of its accounts.
func (s *Server) Describe(a Account) Description {
	d := Description{
		APIURL: s.APIURL(), StreamURL: s.StreamURL(), TLSAddr: s.TLSAddr(),
		Email: a.Email, Password: a.Password, TOTPSecret: a.TOTPSecret, UserKey: a.UserKey, AppToken: a.AppToken,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.CAFile = s.caFile
	return d
}
