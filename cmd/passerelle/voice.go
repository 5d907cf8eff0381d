package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/captive/voice"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
)

// boardCommands are the subcommands of "passerelle board".
var boardCommands = []command{
	{"list", "[--state DIR] [--socket FILE]", "list the notices that wait, and those that are shown", boardList},
	{"accept", "[--state DIR] [--socket FILE] NUMBER …", "show notices for 30 days", boardAccept},
	{"refuse", "[--all] [--state DIR] [--socket FILE] NUMBER …", "remove notices; with --all, all that wait", boardRefuse},
}

func boardCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "board", boardCommands, args)
}

// opinionCommands are the subcommands of "passerelle opinion".
var opinionCommands = []command{
	{"question", "[--choice [PICTOGRAM:]TEXT]… [--none] [--state DIR] [--socket FILE] [TEXT]",
		"ask residents a question with 2 to 6 choices, none, or show the current one", opinionQuestion},
	{"results", "[--weeks N] [--csv FILE] [--state DIR] [--socket FILE]",
		"show what residents answered; write it as CSV, with its description in FILE.schema.json", opinionResults},
}

func opinionCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "opinion", opinionCommands, args)
}

// voicePlace is where a command finds what residents wrote, and the daemon.
type voicePlace struct {
	state   string
	box     control.Client
	stopped bool // a change has found the daemon stopped
}

func (p *voicePlace) flags(f *flag.FlagSet) {
	changedStateFlag(f, &p.state)
	socketFlag(f, &p.box)
}

// desk returns the desk that makes changes. A stopped daemon has nothing in memory, and reads the files at its next start.
func (p *voicePlace) desk(ctx context.Context) voice.Desk {
	return voice.Desk{Dir: daemon.Content(p.state, "voice"), Now: time.Now, Refresh: func() error {
		err := p.box.Refresh(ctx, "voice")
		if errors.Is(err, control.ErrNotRunning) {
			p.stopped, err = true, nil
		}
		return err
	}}
}

// changed says when a change takes effect, unless it already has.
func (p *voicePlace) changed(c *cli) error {
	if p.stopped {
		fmt.Fprintln(c.out, notRunning)
	}
	return nil
}

func boardList(ctx context.Context, c *cli, args []string) error {
	var p voicePlace
	if _, err := c.flags("board list", args, 0, p.flags); err != nil {
		return err
	}
	b, err := p.desk(ctx).Board()
	if err != nil {
		return err
	}
	if len(b.Posts) == 0 {
		fmt.Fprintln(c.out, "There are no notices.")
		return nil
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tSTATE\tWEEK\tKIND\tTEXT")
	for _, post := range append(b.Waiting(), b.Shown()...) {
		state := "waits"
		if !post.Waits() {
			state = "shown since " + post.Shown
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s, %s\t%s\n", post.Number, state, post.Week, post.Side, post.Kind,
			strings.ReplaceAll(post.Text, "\n", " / "))
	}
	return w.Flush()
}

func boardAccept(ctx context.Context, c *cli, args []string) error {
	var p voicePlace
	words, err := c.flags("board accept", args, board.MaxWaiting, p.flags)
	if err != nil {
		return err
	}
	numbers, err := postNumbers("accept", words)
	if err != nil {
		return err
	}
	if err := p.desk(ctx).Accept(numbers...); err != nil {
		return boardError(err)
	}
	fmt.Fprintf(c.out, "%s shown\n", areShown(len(numbers)))
	return p.changed(c)
}

func areShown(n int) string {
	if n == 1 {
		return "1 notice is"
	}
	return plural(n, "notice") + " are"
}

func boardRefuse(ctx context.Context, c *cli, args []string) error {
	var p voicePlace
	var all bool
	words, err := c.flags("board refuse", args, board.MaxWaiting+board.MaxShown, func(f *flag.FlagSet) {
		f.BoolVar(&all, "all", false, "all notices that wait")
		p.flags(f)
	})
	if err != nil {
		return err
	}
	var numbers []int
	if !all || len(words) > 0 {
		if numbers, err = postNumbers("refuse", words); err != nil {
			return err
		}
	}
	removed := len(numbers)
	if all {
		removed, err = p.desk(ctx).RefuseAll(numbers...)
	} else {
		err = p.desk(ctx).Refuse(numbers...)
	}
	if err != nil {
		return boardError(err)
	}
	fmt.Fprintf(c.out, "%s removed\n", areShown(removed))
	return p.changed(c)
}

// postNumbers parses the numbers of posts.
func postNumbers(what string, words []string) (numbers []int, err error) {
	if len(words) == 0 {
		return nil, usageError{fmt.Errorf("passerelle board %s: name the notice's number; passerelle board list lists them", what)}
	}
	for _, word := range words {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, usageError{fmt.Errorf("passerelle board %s: %q is not a notice's number", what, word)}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// boardError says what to do about a failed change of the board.
func boardError(err error) error {
	switch {
	case errors.Is(err, board.ErrUnknown), errors.Is(err, board.ErrNoNotice):
		return usageError{fmt.Errorf("%w; passerelle board list lists them", err)}
	case errors.Is(err, board.ErrFull):
		return usageError{err}
	}
	return fmt.Errorf("nothing is changed: %w", err)
}

func opinionQuestion(ctx context.Context, c *cli, args []string) error {
	var p voicePlace
	var none bool
	var choices []opinion.ChoiceText
	words, err := c.flags("opinion question", args, 1, func(f *flag.FlagSet) {
		f.Func("choice", "a choice: a `TEXT`, or PICTOGRAM:TEXT with one of "+strings.Join(opinion.Pictures, ", "), func(s string) error {
			choice, err := opinion.ParseChoice(s)
			choices = append(choices, choice)
			return err
		})
		f.BoolVar(&none, "none", false, "ask nothing")
		p.flags(f)
	})
	if err != nil {
		return err
	}
	desk := p.desk(ctx)
	now, err := desk.Question()
	if err != nil {
		return err
	}
	if len(words) == 0 && !none {
		if choices != nil {
			return usageError{errors.New("passerelle opinion question: write the question, too")}
		}
		return showQuestion(c.out, now)
	}
	if none && (len(words) > 0 || choices != nil) {
		return usageError{errors.New("passerelle opinion question: a question, or --none")}
	}
	if none {
		err = desk.Close(voice.AnyQuestion)
	} else {
		err = desk.Ask(words[0], choices, voice.AnyQuestion)
	}
	var refused opinion.RefusedError
	switch {
	case errors.As(err, &refused):
		return usageError{err}
	case err != nil:
		return fmt.Errorf("nothing is changed: %w", err)
	}
	if now, err = desk.Question(); err != nil {
		return err
	}
	if err := showQuestion(c.out, now); err != nil {
		return err
	}
	return p.changed(c)
}

func showQuestion(w io.Writer, q *opinion.Question) error {
	if q == nil {
		_, err := fmt.Fprintln(w, "Residents are asked nothing. To ask: passerelle opinion question --choice TEXT --choice TEXT QUESTION")
		return err
	}
	var b strings.Builder
	fmt.Fprintln(&b, q.Text)
	for _, choice := range q.Choices {
		fmt.Fprintf(&b, "  - %s", choice.Text)
		if choice.Picture != "" {
			fmt.Fprintf(&b, " (%s)", choice.Picture)
		}
		fmt.Fprintln(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func opinionResults(ctx context.Context, c *cli, args []string) error {
	var p voicePlace
	var weeks int
	var file string
	if _, err := c.flags("opinion results", args, 0, func(f *flag.FlagSet) {
		f.IntVar(&weeks, "weeks", 13, "the last so many `WEEKS` that ended")
		f.StringVar(&file, "csv", "", "write them to this `FILE`, week by week, and their description to FILE.schema.json")
		f.StringVar(&p.state, "state", defaultState, "the daemon's state `DIR`")
		socketFlag(f, &p.box)
	}); err != nil {
		return err
	}
	if weeks < 1 || weeks > 60 {
		return usageError{errors.New("passerelle opinion results: --weeks is 1 to 60; they are kept for 13 months")}
	}
	rows, err := p.desk(ctx).Results(weeks)
	if err != nil {
		return err
	}
	if file != "" {
		if err := writeResults(file, rows); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s and %s.schema.json are written\n", file, file)
		return nil
	}
	return showResults(c.out, rows)
}

// writeResults writes results and their description.
func writeResults(file string, rows []opinion.Row) error {
	var table, schema bytes.Buffer
	if err := errors.Join(opinion.WriteCSV(&table, rows), opinion.WriteSchema(&schema)); err != nil {
		return err
	}
	return errors.Join(
		renameio.WriteFile(file, table.Bytes(), 0o644), renameio.WriteFile(file+".schema.json", schema.Bytes(), 0o644),
	)
}

// showResults shows the sums over all weeks. It adds up only numbers that were published.
func showResults(w io.Writer, rows []opinion.Row) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "There is nothing to show: answers are shown when their week is over, and at least 5 people gave the same.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SUBJECT\tPART\tANSWER\tCOUNT")
	for _, r := range opinion.Sums(rows) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Subject, r.Part, r.Answer, r.Number())
	}
	return t.Flush()
}
