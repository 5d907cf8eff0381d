package captive

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// common are the most frequent requests.
var common = map[string]string{
	"first": "10.80.0.1/", "redirect": "example.org/", "program": "example.org/feed.xml", "lesson": "10.80.0.1/tutorials/wifi", "picture": "10.80.0.1/tutorials/wifi/3",
}

func commonRequest(url string) *http.Request {
	r := httptest.NewRequest("GET", "http://"+url, nil)
	r.RemoteAddr = resident + ":40000"
	r.Header.Set("Accept-Encoding", "gzip, deflate")
	if !strings.HasSuffix(url, ".xml") {
		r.Header.Set("Accept", "text/html,*/*;q=0.8")
	}
	r.Header.Set("Accept-Language", "fr-FR,fr;q=0.9,en;q=0.8")
	return r
}

// discard is a ResponseWriter that keeps nothing but its header.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// The common answers allocate next to nothing.
func TestCommonAnswersAllocateLittle(t *testing.T) {
	s := newServer(newFakeBox())
	for name, url := range common {
		w, r := discard{make(http.Header)}, commonRequest(url)
		if n := testing.AllocsPerRun(100, func() { s.ServeHTTP(w, r) }); n > 3 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkServe(b *testing.B) {
	s := newServer(newFakeBox())
	for name, url := range common {
		b.Run(name, func(b *testing.B) {
			w, r := discard{make(http.Header)}, commonRequest(url)
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				s.ServeHTTP(w, r)
			}
		})
	}
}
