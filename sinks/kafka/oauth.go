package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// A token is renewed when less than this, or less than a fifth of its life, is
// left of it.
const tokenMargin = 30 * time.Second

func newOAuth(c Config) bearer {
	if c.OauthTokenFile != "" {
		return bearer{token: func(context.Context) (string, error) { return readToken(c.OauthTokenFile) }, extensions: c.OauthExtensions}
	}
	client := &tokenClient{config: c, http: &http.Client{
		Timeout: dialTimeout,
		// The secret goes to the configured address and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return bearer{token: client.token, extensions: c.OauthExtensions}
}

// readToken reads a file that somebody else keeps fresh, such as a projected
// service account token.
func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("KAFKA_OAUTH_TOKEN_FILE: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if err := checkToken(token); err != nil {
		return "", &authError{fmt.Errorf("KAFKA_OAUTH_TOKEN_FILE: %w", err)}
	}
	return token, nil
}

// checkToken refuses what would break out of the SASL message.
func checkToken(token string) error {
	if token == "" {
		return errors.New("the token is empty")
	}
	if strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return errors.New("the token contains an invalid character")
	}
	return nil
}

// A tokenClient gets tokens by the client credentials grant (RFC 6749, section
// 4.4) and keeps one as long as it lasts. It is safe for concurrent use.
type tokenClient struct {
	config Config
	http   *http.Client

	mu      sync.Mutex
	current string
	renew   time.Time
}

func (t *tokenClient) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != "" && time.Now().Before(t.renew) {
		return t.current, nil
	}
	token, life, err := t.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("KAFKA_OAUTH_TOKEN_URL: %w", err)
	}
	margin := max(tokenMargin, life/5)
	t.current, t.renew = token, time.Now().Add(life-margin)
	return token, nil
}

func (t *tokenClient) fetch(ctx context.Context) (string, time.Duration, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.config.OauthScope != "" {
		form.Set("scope", t.config.OauthScope)
	}
	if t.config.OauthAudience != "" {
		form.Set("audience", t.config.OauthAudience)
	}
	secret, err := t.config.clientSecret()
	if err != nil {
		return "", 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.OauthTokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, errors.New("the URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(t.config.OauthClientID), url.QueryEscape(secret))
	res, err := t.http.Do(req)
	if err != nil {
		// A *url.Error prints the URL, which may carry a secret in its query.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return "", 0, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", 0, err
	}
	var answer struct {
		Token   string  `json:"access_token"`
		Expires float64 `json:"expires_in"`
		Error   string  `json:"error"`
	}
	decodeErr := json.Unmarshal(body, &answer)
	switch {
	case res.StatusCode == http.StatusBadRequest, res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return "", 0, &authError{fmt.Errorf("token endpoint answers %d %.100q", res.StatusCode, answer.Error)}
	case res.StatusCode != http.StatusOK:
		return "", 0, fmt.Errorf("token endpoint answers %d", res.StatusCode)
	case decodeErr != nil:
		return "", 0, errors.New("the answer of the token endpoint is not JSON")
	}
	if err := checkToken(answer.Token); err != nil {
		return "", 0, err
	}
	life := time.Duration(answer.Expires * float64(time.Second))
	return answer.Token, life, nil
}
