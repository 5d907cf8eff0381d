package captive

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/voice"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/voice/week"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// withVoice gives the box a question, results and posts, and returns the share's folder.
func withVoice(t testing.TB, b *fakeBox) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := voice.BoardFile(dir).Update(func(all *board.Board) error {
		for i, text := range []string{
			"Je prête une perceuse 18 V, le week-end.\nElle est dans sa boîte.", "أعلم العربية للأطفال يوم السبت.",
			"I can drive you to the hospital on Tuesdays <3", strings.Repeat("Anticonstitutionnellement", 8), "Je répare les vélos.", "En attente",
		} {
			p := all.Add(board.Post{Side: board.Sides[i%2], Kind: board.Kinds[i%5], Text: text, Week: week.Of(noon)})
			if i < 5 {
				if err := all.Accept(p.Number, noon); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := voice.OpinionFile(dir).Update(func(o *opinion.Opinions) error {
		before := week.Of(noon).Add(-1)
		for i := range opinion.Faces {
			o.Add(opinion.Press{Week: before, Part: opinion.Face, Service: "caf.fr", Which: i}, 4+7*i)
		}
		for i := range opinion.Hurdles {
			o.Add(opinion.Press{Week: before, Part: opinion.Hurdle, Service: "caf.fr", Which: i}, 9-i)
		}
		err := o.Ask("À quelle heure préférez-vous les ateliers ?", []opinion.ChoiceText{
			{Text: "Le matin", Picture: "clock"}, {Text: "L’après-midi"}, {Text: "Le soir", Picture: "house"}, {Text: "Je ne peux pas venir", Picture: "no"},
		})
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: o.Current, Which: 1}, 12)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: o.Current, Which: 3}, 5)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b.voice = aVoice(dir)
	b.voice.Refresh()
	return dir
}

// voicePages are the pages of the board and of opinions.
var voicePages = []string{
	"/board", "/board/lend", "/board/new", "/board/sent/6", "/board/nope", "/opinion", "/opinion/services", "/opinion/services/caf.fr",
	"/opinion/services/caf.fr/hurdle", "/opinion/services/other", "/opinion/thanks", "/opinion/results", "/opinion/results/caf.fr",
	"/opinion/results/ameli.fr", "/opinion/nope",
}

// The pages of the board and of opinions have at most 40 kB on the wire with their headers, compressed or not.
func TestVoiceWeight(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	withVoice(t, b)
	s, most := newServer(b), 0
	for _, path := range voicePages {
		for _, code := range everyLanguage {
			n := len(body(t, ask(t, s, "GET "+path+"?lang="+code)))
			if most = max(most, n); n > 39_300 {
				t.Errorf("%s in %s has %d bytes", path, code, n)
			}
		}
	}
	t.Logf("the heaviest: %d bytes", most)
}

// TestVoiceNoFlaw is TestNoFlaw for the board and opinions, including the answers to a press. Some pages are checked in French and
// Arabic only: in the other languages they have the same layout.
func TestVoiceNoFlaw(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	ctx, _ := webtest.Browser(t)
	j := webtest.NewJudge(t, ctx)
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	withVoice(t, b)
	s := newServer(b)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = resident + ":40000"
		if form := r.URL.Query().Get("form"); form != "" { // the answer to a press, as if it had an address of its own
			r = httptest.NewRequest(http.MethodPost, r.URL.Path+"?lang="+r.URL.Query().Get("lang"), strings.NewReader(form))
			r.Host, r.RemoteAddr = "partage.internal", resident+":40000"
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	site := strings.Replace(server.URL, "127.0.0.1", "partage.internal", 1)
	for _, code := range everyLanguage {
		pages := voicePages
		if code != "fr" && code != "ar" {
			pages = []string{"/board", "/board/new", "/opinion/services/caf.fr", "/opinion/services/caf.fr/hurdle", "/opinion/results/caf.fr"}
		}
		for _, path := range pages {
			judge(t, j, site+path+"?lang="+code, code)
		}
		for _, press := range []string{
			"/board/new?form=side%3Doffer%26text%3DMerci%2C+Ahmed+06+12+34+56+78+a%40exemple.fr", "/opinion/services/caf.fr?form=x",
		} {
			judge(t, j, site+press+"&lang="+code, code)
		}
	}
}

// A resident lends a drill, on a screen of 320 px and without scripts: the page refuses the telephone number, keeps the text,
// and then shows a number to say at the desk.
func TestLendADrill(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	dir := withVoice(t, b)
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	site := "http://partage.internal:" + port
	var problem, kept, title, ticket string
	var sideways bool
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/"),
		chromedp.Click(`a[href="/board"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.posts`, chromedp.ByQuery),
		chromedp.Click(`a[href="/board/new"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`textarea`, chromedp.ByQuery),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Click(`input[value="offer"]`, chromedp.ByQuery),
		chromedp.Click(`input[value="lend"]`, chromedp.ByQuery),
		chromedp.SendKeys(`textarea`, "Je prête une perceuse. 06 12 34 56 78", chromedp.ByQuery),
		chromedp.Click(`form[action="/board/new"] button`, chromedp.ByQuery),
		chromedp.WaitVisible(`[role="alert"]`, chromedp.ByQuery),
		chromedp.Text(`[role="alert"] li`, &problem, chromedp.ByQuery),
		chromedp.Value(`textarea`, &kept, chromedp.ByQuery),
		chromedp.SetValue(`textarea`, "Je prête une perceuse.", chromedp.ByQuery),
		chromedp.Click(`form[action="/board/new"] button`, chromedp.ByQuery),
		chromedp.WaitVisible(`.ticket`, chromedp.ByQuery),
		chromedp.Text("h1", &title, chromedp.ByQuery),
		chromedp.Text(".ticket", &ticket, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(problem, "06 12 34 56 78") || kept != "Je prête une perceuse. 06 12 34 56 78" || sideways {
		t.Errorf("the page says %q and keeps %q; sideways: %v", problem, kept, sideways)
	}
	if title != "Votre annonce est envoyée" || ticket != "n° 7" {
		t.Errorf("then: %q, %q", title, ticket)
	}
	if all, err := voice.BoardFile(dir).Read(); err != nil || all.Last != 7 {
		t.Errorf("%+v, %v", all, err)
	}
}

// A resident without scripts rates a service and answers the centre's question by pressing. A second answer is refused as too often.
func TestRateAService(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	withVoice(t, b)
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	site := "http://partage.internal:" + port
	var titles [3]string
	press := func(title *string) chromedp.Tasks {
		return chromedp.Tasks{
			chromedp.Click(`form[action="/opinion/question"] button[value="2"]`, chromedp.ByQuery),
			chromedp.WaitNotPresent(`form[action="/opinion/question"]`, chromedp.ByQuery),
			chromedp.Text("h1", title, chromedp.ByQuery),
		}
	}
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(360, 740),
		chromedp.Navigate(site+"/"),
		chromedp.Click(`a[href="/opinion"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="/opinion/services"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/opinion/services"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="/opinion/services/caf.fr"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/opinion/services/caf.fr"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`button[value="bad"]`, chromedp.ByQuery),
		chromedp.Click(`button[value="bad"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`button[value="account"]`, chromedp.ByQuery),
		chromedp.Click(`button[value="account"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.good`, chromedp.ByQuery),
		chromedp.Text("h1", &titles[0], chromedp.ByQuery),
		chromedp.Click(`a[href="/opinion"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="/opinion/question"] button`, chromedp.ByQuery),
		press(&titles[1]),
		chromedp.Navigate(site+"/opinion"),
		press(&titles[2]),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(fmt.Sprintf("%q", titles), `\u202f`, " "); got != `["Merci !" "Merci !" "Vous avez déjà répondu"]` {
		t.Errorf("titles %s", got)
	}
}
