package captive

import "testing"

// TestOpenedLessons: each opening of a lesson counts, also one served from the cache, and nothing else does.
func TestOpenedLessons(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	opened := b.tutorials.Share().Opened
	for _, test := range []struct {
		path string
		want uint64 // of two requests
	}{
		{"/tutorials/adresse-mail", 2}, {"/tutorials/adresse-mail?lang=en", 2}, {"/tutorials/adresse-mail/1", 0},
		{"/tutorials/no-such-lesson", 0}, {"/tutorials", 0}, {"/tutorials/", 0}, {"/tutorials/media/x", 0},
	} {
		before := opened()
		for range 2 {
			body(t, ask(t, s, "GET "+test.path))
		}
		if got := opened() - before; got != test.want {
			t.Errorf("%s counts %d, want %d", test.path, got, test.want)
		}
	}
}
