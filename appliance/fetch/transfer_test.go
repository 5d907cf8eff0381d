package fetch

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	secret  = "s3cr3t-path"
	address = "https://example.com/" + secret
	file    = "id,nom\n1,Le Fil\n2,La Halle\n"
)

// answer is a handler that answers with a text.
func answer(kind, text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", kind)
		io.WriteString(rw, text)
	}
}

// TestDownload: various answers of servers, and their outcome. Nothing that is shown contains the path of the address.
func TestDownload(t *testing.T) {
	t.Parallel()
	zeros := func(rw http.ResponseWriter, n int) {
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		block := make([]byte, 1<<20)
		for range n {
			if _, err := z.Write(block); err != nil {
				return
			}
		}
		z.Close()
	}
	sized := func(text string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", fmt.Sprint(len(text)))
			io.WriteString(rw, text)
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, to, http.StatusFound) }
	}
	for name, test := range map[string]struct {
		url       string // "": address
		handle    http.HandlerFunc
		allowance uint64 // 0: unlimited
		refuse    error
		says      string // in the error; "": it is imported
		refused   bool   // it is requested again only after the week
	}{
		"a file":           {handle: answer("text/csv", file)},
		"over http":        {url: "http://example.com/" + secret, handle: answer("text/csv", file)},
		"of no type":       {handle: answer("", file)},
		"without a length": {handle: func(rw http.ResponseWriter, _ *http.Request) { rw.(http.Flusher).Flush(); io.WriteString(rw, file) }},
		"another host":     {handle: redirect("https://example.org/file"), says: "certificate is valid for"},
		"from http":        {url: "http://www.example.com/x", handle: redirect("https://example.com/file")},
		"within the cap":   {handle: answer("text/csv", file), allowance: 8e6},
		"gzip": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(rw)
			io.WriteString(z, file)
			z.Close()
		}},
		"no gzip": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			io.WriteString(rw, file)
		}, says: "unpack the file: gzip: invalid header"},
		"half a gzip": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(rw)
			io.WriteString(z, file)
			z.Flush()
		}, says: "receive the file: unexpected EOF"},
		"a gzip bomb": {handle: func(rw http.ResponseWriter, _ *http.Request) { zeros(rw, 201) }, says: "larger than 200 MB", refused: true},
		"brotli": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "br")
			io.WriteString(rw, file)
		}, says: `an encoding that was not asked for: "br"`},
		"a web page":         {handle: answer("text/html; charset=utf-8", "<p>Bonjour"), says: "a web page instead of the file"},
		"one without a type": {handle: answer("text/csv", "\n <!DOCTYPE html>\n<title>Portail</title>"), says: "a web page instead of the file"},
		"a 504 with JSON": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(504)
			io.WriteString(rw, `{"message":"too large"}`)
		}, says: `the server answered "504 Gateway Timeout"`},
		"JSON":    {handle: answer("application/problem+json", `{}`), says: "a message in JSON instead of the file"},
		"nothing": {handle: answer("text/csv", ""), says: "an empty file"},
		"half a file": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			io.WriteString(rw, file)
		}, says: "receive the file: unexpected EOF"},
		"half a chunked file": {handle: func(rw http.ResponseWriter, _ *http.Request) {
			io.WriteString(rw, file)
			rw.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, says: "receive the file: unexpected EOF"},
		"nobody":               {url: "https://example.com:8443/" + secret, says: "nobody is at 192.0.2.80:8443"},
		"no such name":         {url: "https://nowhere.example.com/" + secret, says: "nowhere.example.com has no IPv4 address (NameError)"},
		"inside, by name":      {url: "http://inside.example.com/" + secret, says: "192.168.1.1, which is not on the internet"},
		"inside, by address":   {url: "http://127.0.0.1:8080/" + secret, says: "127.0.0.1, which is not on the internet"},
		"by IPv6":              {url: "http://[2001:db8::1]/" + secret, says: "2001:db8::1, which is not on the internet"},
		"mapped":               {url: "http://[::ffff:10.0.0.1]/" + secret, says: "which is not on the internet"},
		"redirected inside":    {handle: redirect("https://inside.example.com/file"), says: "which is not on the internet"},
		"redirected to http":   {handle: redirect("http://example.com/file"), says: "from https to http"},
		"redirected to a file": {handle: redirect("file:///etc/shadow"), says: `redirects to "file"`},
		"redirected to a user": {handle: redirect("https://a:b@example.com/file"), says: "an address with a user's name"},
		"redirected for ever":  {handle: redirect("/" + secret), says: "redirects too often"},
		"a large one":          {handle: sized(strings.Repeat("x", 300_000)), allowance: 200_000, says: "larger than what downloads may use of the cap in this period: 200 kB of 300 kB", refused: true},
		"a large one without a length": {
			handle: func(rw http.ResponseWriter, _ *http.Request) {
				rw.(http.Flusher).Flush()
				io.WriteString(rw, strings.Repeat("x", 300_000))
			}, allowance: 200_000,
			says: "larger than what downloads may use", refused: true,
		},
		"one that is refused": {handle: answer("text/csv", file), refuse: errFewer, says: "far fewer rows", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if test.url == "" {
					test.url = address
				}
				w := newWorld(t, test.url)
				if test.handle != nil {
					w.mux.HandleFunc("/", test.handle)
				}
				w.mux.HandleFunc("/file", answer("text/csv", file))
				w.refuse = test.refuse
				if test.allowance != 0 {
					w.set(func(s *Situation) { s.Line.Allowance = test.allowance })
				}
				d := w.fetch()
				if test.says == "" {
					if d.Error != "" || d.Result != "3 lines" || len(w.imported) != 1 || w.imported[0] != file {
						t.Errorf("it ended with %q, result %q, imported %q", d.Error, d.Result, w.imported)
					}
				} else if !strings.Contains(d.Error, test.says) || len(w.imported) != 0 {
					t.Errorf("it ended with %q, imported %q", d.Error, w.imported)
				}
				if wait := d.Next.Sub(d.Tried); test.says != "" && (wait == Week) != test.refused {
					t.Errorf("the next one is in %v", wait)
				}
				if test.allowance != 0 {
					f := w.fetcher()
					if used := f.memory.usage(*w.situation.Line); used < d.Bytes || used > d.Bytes+least || d.Bytes > test.allowance+40_000 {
						t.Errorf("%d bytes were used, booked are %d of %d", d.Bytes, used, test.allowance)
					}
				}
				for _, dialed := range w.dialed {
					if !strings.Contains(dialed, " eth1 ") {
						t.Errorf("it dialled %s", dialed)
					}
				}
				if all := w.log.String() + fmt.Sprint(d); strings.Contains(all, secret) {
					t.Errorf("the path is shown: %s", all)
				}
			})
		})
	}
}

// TestRequest: a request contains no more than it must, and requests a file only if it has changed.
func TestRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "http://example.com/first")
		var asked []string
		w.mux.HandleFunc("/first", func(rw http.ResponseWriter, r *http.Request) {
			http.SetCookie(rw, &http.Cookie{Name: "who", Value: "box"})
			http.Redirect(rw, r, "https://example.com/file", http.StatusMovedPermanently)
		})
		w.mux.HandleFunc("/file", func(rw http.ResponseWriter, r *http.Request) {
			var b strings.Builder
			r.Header.Write(&b)
			asked = append(asked, b.String())
			rw.Header().Set("ETag", `"v1"`)
			rw.Header().Set("Last-Modified", "Mon, 30 Nov 2026 10:00:00 GMT")
			if r.Header.Get("If-None-Match") == `"v1"` {
				rw.WriteHeader(http.StatusNotModified)
				return
			}
			io.WriteString(rw, file)
		})
		bare := "Accept-Encoding: gzip\r\nConnection: close\r\nUser-Agent: passerelle\r\n"
		conditional := "Accept-Encoding: gzip\r\nConnection: close\r\nIf-None-Match: \"v1\"\r\nUser-Agent: passerelle\r\n"
		for i, test := range []struct {
			what      string
			before    func()
			want      string
			unchanged bool
		}{
			{"at first", func() {}, bare, false},
			{"unchanged", func() {}, conditional, true},
			{"removed", func() { w.missing = true }, bare, false},
			{"refused", func() { w.missing, w.refuse = true, errFewer }, bare, false},
			{"unchanged again", func() { w.missing, w.refuse = false, nil }, conditional, true},
			{"of another address", func() { w.setURL("https://example.com/file") }, bare, false},
		} {
			test.before()
			d := w.fetch()
			if len(asked) != i+1 || asked[i] != test.want {
				t.Fatalf("%s: asked for with %q, want %q", test.what, asked, test.want)
			}
			if d.Unchanged != test.unchanged && d.Error == "" || d.Result != "3 lines" || (d.Error != "") != (w.refuse != nil) {
				t.Errorf("%s: %+v", test.what, d)
			}
			time.Sleep(pressEvery)
		}
	})
}

// TestSlowServer: a server may take some time for an answer, but not for ever, and then it must keep sending.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handle func(rw http.ResponseWriter, pause func(time.Duration) bool)
		most   time.Duration
		says   string
	}{
		"an answer after a minute": {func(rw http.ResponseWriter, pause func(time.Duration) bool) {
			pause(time.Minute)
			io.WriteString(rw, file)
		}, 2 * time.Minute, ""},
		"no answer": {func(_ http.ResponseWriter, pause func(time.Duration) bool) {
			pause(time.Hour)
		}, 2 * time.Minute, "timeout awaiting response headers"},
		"a byte a second": {func(rw http.ResponseWriter, pause func(time.Duration) bool) {
			for pause(time.Second) {
				io.WriteString(rw, "x")
				rw.(http.Flusher).Flush()
			}
		}, 2 * time.Minute, errSlow.Error()},
		"2 kB a second": {func(rw http.ResponseWriter, pause func(time.Duration) bool) {
			for pause(time.Second) {
				io.WriteString(rw, strings.Repeat("x", 2000))
				rw.(http.Flusher).Flush()
			}
		}, maxTime + time.Minute, errTime.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, address)
				w.mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
					test.handle(rw, func(d time.Duration) bool {
						select {
						case <-time.After(d):
							return true
						case <-r.Context().Done():
							return false
						}
					})
				})
				began := time.Now()
				d := w.fetch()
				if took := time.Since(began); took > test.most || (d.Error == "") != (test.says == "") || !strings.Contains(d.Error, test.says) {
					t.Errorf("after %v: %q", took, d.Error)
				}
			})
		})
	}
}

// TestStops: a download stops as soon as its line may no longer be used, and then nothing is imported.
func TestStops(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Situation)
		says   string
	}{
		"closing":             {func(s *Situation) { s.Line, s.Why = nil, "nothing is shared now (closed)" }, "it was stopped: nothing is shared now (closed)"},
		"another donation":    {func(s *Situation) { s.Line.Donation = "Mairie" }, "the box uses another line"},
		"another interface":   {func(s *Situation) { s.Line.Interface = "usb0" }, "the box uses another line"},
		"the end of the cap":  {func(s *Situation) { s.Line.Allowance = 0 }, `the cap of "Fibre" is almost spent`},
		"the end of a daemon": {nil, "the box was stopped during the download"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, address)
				gone := make(chan struct{})
				w.mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Content-Length", "100000")
					io.WriteString(rw, file)
					rw.(http.Flusher).Flush()
					<-r.Context().Done()
					close(gone)
				})
				f := w.fetcher()
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { f.Run(ctx) })
				defer running.Wait()
				defer cancel()
				if err := f.Start("places"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				d := f.Status()[0]
				if !d.Running || d.Size != 100_000 || d.Bytes == 0 {
					t.Fatalf("it does not run: %+v", d)
				}
				if err := f.Start("places"); err == nil || err.Error() != "the download of places is running" {
					t.Errorf("a second press: %v", err)
				}
				if test.change == nil {
					cancel()
					running.Wait()
					f = w.fetcher()
				} else {
					w.set(test.change)
					time.Sleep(2 * watchEvery)
				}
				<-gone
				if d := f.Status()[0]; d.Running || !strings.Contains(d.Error, test.says) || len(w.imported) != 0 {
					t.Errorf("%+v, imported %q", d, w.imported)
				}
			})
		})
	}
}

// TestPace: a download uses a quarter of the lent rate, so that residents hardly notice.
func TestPace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate        uint64
		least, most time.Duration
	}{{4e6, 7500 * time.Millisecond, 10 * time.Second}, {0, 900 * time.Millisecond, 2 * time.Second}, {1e9, 900 * time.Millisecond, 2 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, address)
			w.set(func(s *Situation) { s.Line.Rate = test.rate })
			w.mux.HandleFunc("/", answer("text/csv", strings.Repeat("x\n", 500_000)))
			began := time.Now()
			d := w.fetch()
			if took := time.Since(began); d.Error != "" || took < test.least || took > test.most {
				t.Errorf("1 MB at %d bit/s took %v: %q", test.rate, took, d.Error)
			}
		})
	}
}

// TestUnnoted: what cannot be recorded is not downloaded.
func TestUnnoted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, address)
		var asked atomic.Int32
		w.mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) { asked.Add(1) })
		w.path += "/missing"
		if d := w.fetch(); !strings.HasPrefix(d.Error, "note a download: ") || asked.Load() != 0 || len(w.dialed) != 0 {
			t.Errorf("%+v, asked for %d times", d, asked.Load())
		}
	})
}
