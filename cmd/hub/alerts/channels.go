package alerts

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/url"
	"strings"
	"time"
)

// Webhook posts messages as JSON to a URL: {"text": …, "subject": …, "lines": […]}. Common chat servers need only text, which has all of
// it.
type Webhook struct{ URL string }

// CheckWebhook returns an error unless the address can be a webhook: an https URL, or an http URL on this machine.
func CheckWebhook(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("the webhook is no address")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())) {
		return errors.New("the webhook must begin with https://")
	}
	return nil
}

// client follows no redirects, and ignores the proxy variables of the environment.
var client = &http.Client{
	Transport:     &http.Transport{TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (w Webhook) String() string { return "webhook" } // the URL may contain a secret

// Send implements [Channel].
func (w Webhook) Send(ctx context.Context, subject string, lines []string) error {
	body, err := json.Marshal(map[string]any{"text": subject + "\n" + strings.Join(lines, "\n"), "subject": subject, "lines": lines})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("its address cannot be used")
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		if full, ok := errors.AsType[*url.Error](err); ok {
			err = full.Err // without the address
		}
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("it answered %s", answer.Status)
	}
	return nil
}

// Mail sends messages by SMTP.
type Mail struct {
	Server   string // HOST:PORT; port 465 is implicit TLS; on other ports the server must offer STARTTLS, unless it is on this machine
	User     string // "" for no login
	Password string
	From     string
	To       []string
	Now      func() time.Time
}

// Check returns an error if an address is malformed, or if there is no recipient.
func (m Mail) Check() error {
	if _, _, err := net.SplitHostPort(m.Server); err != nil {
		return fmt.Errorf("the mail server %q is not HOST:PORT", m.Server)
	}
	for _, a := range append([]string{m.From}, m.To...) {
		if p, err := mail.ParseAddress(a); err != nil || p.Address != a {
			return fmt.Errorf("%q is no mail address", a)
		}
	}
	if len(m.To) == 0 {
		return errors.New("mail goes to nobody")
	}
	return nil
}

func (m Mail) String() string { return "mail by " + m.Server }

const implicitTLS = "465" // RFC 8314

// Send implements [Channel].
func (m Mail) Send(ctx context.Context, subject string, lines []string) error {
	host, port, err := net.SplitHostPort(m.Server)
	if err != nil {
		return err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return err
		}
	}
	secure := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if port == implicitTLS {
		c = tls.Client(c, secure)
	}
	s, err := smtp.NewClient(c, host)
	if err != nil {
		return err
	}
	defer s.Close()
	ip := net.ParseIP(host)
	here := host == "localhost" || ip != nil && ip.IsLoopback()
	if port != implicitTLS {
		if ok, _ := s.Extension("STARTTLS"); ok {
			if err := s.StartTLS(secure); err != nil {
				return err
			}
		} else if !here {
			return errors.New("it offers no STARTTLS")
		}
	}
	if m.User != "" {
		if err := s.Auth(smtp.PlainAuth("", m.User, m.Password, host)); err != nil {
			return err
		}
	}
	if err := s.Mail(m.From); err != nil {
		return err
	}
	for _, to := range m.To {
		if err := s.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := s.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.message(subject, lines)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return s.Quit()
}

// message returns a mail (RFC 5322). Its body has one line for each event.
func (m Mail) message(subject string, lines []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\n", m.From, strings.Join(m.To, ", "), mime.QEncoding.Encode("utf-8", subject), m.Now().Format(time.RFC1123Z))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nAuto-Submitted: auto-generated\r\n\r\n")
	for _, l := range lines {
		b.WriteString(strings.NewReplacer("\r", " ", "\n", " ").Replace(l) + "\r\n")
	}
	return b.Bytes()
}
