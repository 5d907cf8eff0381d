package uplink

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// server answers one request with a text, and counts the bytes of it that are read.
type server struct {
	request bytes.Buffer
	answer  io.Reader
	read    int
}

func (s *server) Write(b []byte) (int, error) { return s.request.Write(b) }

func (s *server) Read(b []byte) (int, error) {
	n, err := s.answer.Read(b)
	s.read += n
	return n, err
}

func TestPageJudge(t *testing.T) {
	t.Parallel()
	text := Page{Host: "probe.example", Path: "/success.txt", Text: "success"}
	empty := Page{Host: "probe.example", Path: "/generate_204"}
	for name, c := range map[string]struct {
		page   Page
		answer string
		want   checkResult
	}{
		"the page":              {text, "HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nsuccess\n", open},
		"its space is no one's": {text, "HTTP/1.1 200 OK\r\n\r\nsuccess\r\n", open},
		"in chunks": {
			text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsuccess\n\r\n0\r\n\r\n", open,
		},
		"no content":            {empty, "HTTP/1.1 204 No Content\r\n\r\n", open},
		"another page":          {text, "HTTP/1.1 200 OK\r\n\r\n<title>Sign in</title>", portal},
		"a page for no content": {empty, "HTTP/1.1 200 OK\r\n\r\nsuccess", portal},
		"a page without end":    {text, "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("success\n", 1000), portal},
		"cut short":             {text, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsucc", unseen},
		"a long page":           {text, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<title>", portal},
		"a redirect":            {text, "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", portal},
		"for good":              {empty, "HTTP/1.1 301 Moved Permanently\r\nLocation: https://probe.example/\r\n\r\n", portal},
		"RFC 6585":              {text, "HTTP/1.1 511 Network Authentication Required\r\n\r\nSign in", portal},
		"no content for a page": {text, "HTTP/1.1 204 No Content\r\n\r\n", unseen},
		"forbidden":             {text, "HTTP/1.1 403 Forbidden\r\n\r\nfilter", unseen},
		"a server in trouble":   {text, "HTTP/1.1 502 Bad Gateway\r\n\r\n", unseen},
		"nothing":               {text, "", unseen},
		"no HTTP":               {text, "220 mail.example ESMTP\r\n", unseen},
		"a head without end":    {text, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10_000), unseen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{answer: strings.NewReader(c.answer)}
			if got := c.page.judge(s); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if s.read > webBytes {
				t.Errorf("%d bytes are read, want %d at most", s.read, webBytes)
			}
			want := "GET " + c.page.Path + " HTTP/1.1\r\nHost: probe.example\r\n" +
				"User-Agent: passerelle\r\nConnection: close\r\n\r\n"
			if got := s.request.String(); got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}
