package webtest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

var sentStyle = regexp.MustCompile(`(?s)<style>(.*?)</style>`)

// Flaws returns what is wrong with a page in a language, checked against its Content-Security-Policy. The page's texts contain <b>
// and <i>, which must be escaped.
func Flaws(code, page, policy string) (flaws []string) {
	say := func(format string, args ...any) {
		flaws = append(flaws, fmt.Sprintf(format, args...)+":\n"+page)
	}
	if !strings.HasPrefix(page, "<!doctype html>\n<html lang=\""+code+"\"") || !strings.HasSuffix(page, "</html>\n") {
		say("no whole page in %s", code)
	}
	if strings.Contains(page, "<b>") || strings.Contains(page, "<i>") || strings.Contains(page, "ZgotmplZ") {
		say("text is not escaped, or too much of it")
	}
	// The styles sent are those that the policy allows.
	sent := sentStyle.FindAllStringSubmatch(page, -1)
	if len(sent) == 0 {
		say("no style")
	}
	for _, style := range sent {
		sum := sha256.Sum256([]byte(style[1]))
		if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			say("a style is none of those of %q", policy)
		}
	}
	if strings.Contains(page, "style=") {
		say("a style attribute, which the policy forbids")
	}
	return flaws
}
