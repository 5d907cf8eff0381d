package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/daemon"
	"passerelle/captive/voice"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/voice/week"
)

// voiceCommands runs commands on a state folder while a daemon's control socket is open.
type voiceCommands struct {
	t         *testing.T
	state     string
	dir       string
	socket    string
	refreshed int
}

func newVoiceCommands(t *testing.T) *voiceCommands {
	v := &voiceCommands{t: t, state: t.TempDir()}
	v.dir = daemon.Content(v.state, "voice")
	v.socket = asked{refresh: func(share string) {
		if v.refreshed++; share != "voice" {
			t.Errorf("it refreshes %q", share)
		}
	}}.answers(t)
	return v
}

// want runs a command, and checks its exit status and parts of its output.
func (v *voiceCommands) want(code int, line []string, parts ...string) {
	v.t.Helper()
	var out bytes.Buffer
	if got := runMain(v.t.Context(), append(line, "--state", v.state, "--socket", v.socket), &out, &out); got != code {
		v.t.Errorf("%q exits %d: %s", line, got, &out)
	}
	for _, part := range parts {
		if !strings.Contains(out.String(), part) {
			v.t.Errorf("%q: no %q in %s", line, part, &out)
		}
	}
}

func TestBoardCommands(t *testing.T) {
	t.Parallel()
	v := newVoiceCommands(t)
	v.want(exitOK, []string{"board", "list"}, "There are no notices.")
	file := voice.BoardFile(v.dir)
	if _, err := file.Update(func(b *board.Board) error {
		for _, text := range []string{"Une perceuse\nle soir", "Une table", "Un lit", "Un vélo"} {
			b.Add(board.Post{Side: board.Offer, Kind: "lend", Text: text, Week: week.Of(time.Now())})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	v.want(exitOK, []string{"board", "list"}, "waits", "offer, lend", "Une perceuse / le soir")
	before := v.refreshed
	v.want(exitOK, []string{"board", "accept", "1", "2"}, "2 notices are shown")
	if v.refreshed != before+2 {
		t.Errorf("the daemon is asked %d times: to write what it has, and to read", v.refreshed-before)
	}
	v.want(exitOK, []string{"board", "list"}, "shown since "+time.Now().Format(time.DateOnly))
	v.want(exitUsage, []string{"board", "accept", "3", "9"}, "notice 9: no such post is waiting")
	v.want(exitUsage, []string{"board", "accept", "1"}, "no such post is waiting")
	v.want(exitUsage, []string{"board", "accept"}, "name the notice's number")
	v.want(exitUsage, []string{"board", "accept", "x"}, `"x" is not a notice's number`)
	v.want(exitUsage, []string{"board", "refuse", "7"}, "there is no notice 7")
	b, err := file.Read()
	if err != nil || len(b.Waiting()) != 2 || len(b.Shown()) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
	v.want(exitOK, []string{"board", "refuse", "1"}, "1 notice is removed")
	v.want(exitOK, []string{"board", "refuse", "--all"}, "2 notices are removed")
	if b, err := file.Read(); err != nil || len(b.Posts) != 1 || b.Posts[0].Number != 2 {
		t.Errorf("%+v, %v", b, err)
	}
	if err := os.WriteFile(file.Path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"board", "list"}, {"board", "accept", "2"}, {"board", "refuse", "--all"}} {
		v.want(exitFailed, line, "is damaged")
	}
}

func TestOpinionCommands(t *testing.T) {
	t.Parallel()
	v := newVoiceCommands(t)
	file := voice.OpinionFile(v.dir)
	v.want(exitOK, []string{"opinion", "question"}, "Residents are asked nothing.")
	v.want(exitUsage, []string{"opinion", "question", "--choice", "yes:Oui"}, "write the question, too")
	v.want(exitUsage, []string{"opinion", "question", "Ouvrir le soir ?"}, "2 to 6 choices")
	v.want(exitUsage, []string{"opinion", "question", "--choice", "yess:Oui", "?"})
	v.want(exitUsage, []string{"opinion", "question", "--none", "?"}, "a question, or --none")
	v.want(exitOK, []string{"opinion", "question", "--choice", "yes:Oui", "--choice", "=Non", "Ouvrir le soir ?"}, "Ouvrir le soir ?", "- Oui (yes)")
	v.want(exitOK, []string{"opinion", "question"}, "- =Non")
	v.want(exitOK, []string{"opinion", "results"}, "There is nothing to show")
	if _, err := file.Update(func(o *opinion.Opinions) error {
		before := week.Of(time.Now()).Add(-1)
		o.Add(opinion.Press{Week: before, Part: opinion.Face, Service: "caf.fr", Which: 1}, 7)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: 1, Which: 1}, 6)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: 1, Which: 0}, 3)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	v.want(exitOK, []string{"opinion", "results"}, "bad", "7", "fewer than 5")
	csv := filepath.Join(v.state, "results.csv")
	v.want(exitOK, []string{"opinion", "results", "--weeks", "1", "--csv", csv}, csv+".schema.json are written")
	table, err := os.ReadFile(csv)
	schema, schemaErr := os.ReadFile(csv + ".schema.json")
	if err := errors.Join(err, schemaErr); err != nil || !strings.Contains(string(table), ",choice,Ouvrir le soir ?,'=Non,6\r\n") ||
		!strings.Contains(string(table), ",Oui,fewer than 5\r\n") || !strings.Contains(string(schema), `"fewer than 5"`) {
		t.Errorf("%v\n%s\n%s", err, table, schema)
	}
	v.want(exitFailed, []string{"opinion", "results", "--csv", filepath.Join(v.state, "none", "results.csv")}, "no such file")
	v.want(exitUsage, []string{"opinion", "results", "--weeks", "0"}, "1 to 60")
	v.want(exitOK, []string{"opinion", "question", "--none"}, "asked nothing")
	if o, err := file.Read(); err != nil || o.Current != 0 || len(o.Questions) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
}
