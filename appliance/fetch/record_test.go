package fetch

import (
	"strings"
	"testing"
)

// TestForgetFiles: what identifies the imported files is removed; what was used of the lines is kept.
func TestForgetFiles(t *testing.T) {
	t.Parallel()
	text, err := ForgetFiles([]byte(`{"jobs":{"places":{"url":"https://x/","validators":{"etag":"abc"}}},"lines":{"Fibre":{"bytes":77}}}`))
	if err != nil || strings.Contains(string(text), "abc") || !strings.Contains(string(text), `"bytes":77`) || !strings.Contains(string(text), "https://x/") {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := ForgetFiles([]byte("{")); err == nil {
		t.Error("half a file is read")
	}
}
