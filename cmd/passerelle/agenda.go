package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/captive/records"
	"passerelle/captive/voice/agenda"
)

// agendaUsage is the usage text of the flags that most subcommands of "passerelle agenda" have.
const agendaUsage = "[--config FILE] [--state DIR] [--socket FILE]"

// agendaCommands are the subcommands of "passerelle agenda".
var agendaCommands = []command{
	{"add", "--title TITLE --on DAY [--from TIME] [--to TIME] [--where PLACE] [--text TEXT] [--every week|2weeks|month] [--until DAY] " + agendaUsage,
		"add an event, for example --title \"Café numérique\" --on 2026-12-02 --from 14:00 --to 16:00 --every week", agendaAdd},
	{"cancel", "[--on DAY] " + agendaUsage + " NUMBER", "cancel an event, or its occurrence on a day; residents see that it is cancelled", agendaCancel},
	{"move", "[--on DAY] [--to-date DAY] [--from TIME] [--to TIME] " + agendaUsage + " NUMBER", "move an event's occurrence; residents see both dates", agendaMove},
	{"list", "[--days DAYS] " + agendaUsage, "list what comes, and the imported calendars", agendaList},
	{"import", "[--name NAME] " + agendaUsage + " FILE", "import a calendar (.ics); it replaces the one of the same name", agendaImport},
	{"remove", agendaUsage + " NAME|NUMBER", "remove an imported calendar, or an event", agendaRemove},
	{"undo", agendaUsage + " [NAME]", "bring back the calendar that the last import or remove replaced", agendaUndo},
	{"fetch", "[--socket FILE]", "download the calendar of [agenda] url now", fetchNow("agenda")},
}

func agendaCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "agenda", agendaCommands, args)
}

// agendaFlags are the flags of all agenda commands.
type agendaFlags struct {
	state, config string
	box           control.Client
}

func (a *agendaFlags) declare(f *flag.FlagSet) {
	changedStateFlag(f, &a.state)
	f.StringVar(&a.config, "config", defaultConfig, "the configuration `FILE`, which has the time zone")
	socketFlag(f, &a.box)
}

func (a *agendaFlags) store() agenda.Store {
	return agenda.Store{Dir: daemon.Content(a.state, "voice")}
}

// now returns the time in the box's zone. Without a configuration it is in the machine's zone.
func (a *agendaFlags) now(c *cli) time.Time {
	conf, err := config.File{Path: a.config}.Load()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(c.err, err) // the agenda needs only its time zone
		}
		return time.Now()
	}
	return time.Now().In(conf.Box.Timezone)
}

// changeOwn changes the staff's events and prints what change returns.
func (a *agendaFlags) changeOwn(ctx context.Context, c *cli, change func(*agenda.Own) (string, error)) error {
	var done string
	p := voicePlace{state: a.state, box: a.box}
	err := p.desk(ctx).ChangeEvents(func(o *agenda.Own) (err error) {
		done, err = change(o)
		return err
	})
	if _, aside := errors.AsType[*records.UnreadableError](err); aside {
		fmt.Fprintln(c.err, err)
		err = nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, done)
	return p.changed(c)
}

func agendaAdd(ctx context.Context, c *cli, args []string) error {
	var a agendaFlags
	var e agenda.Entry
	if _, err := c.flags("agenda add", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&e.Title, "title", "", "what it is called: `TITLE`")
		f.StringVar(&e.On, "on", "", "its first `DAY`, as 2026-12-02")
		f.StringVar(&e.From, "from", "", "when it begins, as 14:00: `TIME` (default: it is all day)")
		f.StringVar(&e.To, "to", "", "when it ends: `TIME`")
		f.StringVar(&e.Where, "where", "", "the `PLACE`")
		f.StringVar(&e.Text, "text", "", "more about it: `TEXT`")
		f.StringVar(&e.Every, "every", "", "how often: week, 2weeks, or month for the same weekday of each month: `PERIOD` (default: once)")
		f.StringVar(&e.Until, "until", "", "the last `DAY` on which it may take place")
		a.declare(f)
	}); err != nil {
		return err
	}
	now := a.now(c)
	return a.changeOwn(ctx, c, func(o *agenda.Own) (string, error) {
		added, err := o.Add(e, rand.Text()+"@passerelle.internal", now)
		if err != nil {
			return "", usageError{fmt.Errorf("passerelle agenda add: %w", err)}
		}
		return fmt.Sprintf("event %d is added: %s", added.Number, describeEntry(added, now)), nil
	})
}

func agendaCancel(ctx context.Context, c *cli, args []string) error {
	var a agendaFlags
	var on string
	number, err := a.numbered(c, "agenda cancel", args, func(f *flag.FlagSet) {
		f.StringVar(&on, "on", "", "the `DAY` of the occurrence (default: all of them)")
	})
	if err != nil {
		return err
	}
	now := a.now(c)
	return a.changeOwn(ctx, c, func(o *agenda.Own) (string, error) {
		e, err := o.Cancel(number, on, now)
		if err != nil {
			return "", entryError("cancel", number, err)
		}
		what := "event " + strconv.Itoa(number)
		if on != "" {
			what += " on " + on
		}
		return fmt.Sprintf("%s is cancelled: %s", what, describeEntry(e, now)), nil
	})
}

func agendaMove(ctx context.Context, c *cli, args []string) error {
	var a agendaFlags
	var to agenda.Day
	number, err := a.numbered(c, "agenda move", args, func(f *flag.FlagSet) {
		f.StringVar(&to.On, "on", "", "the `DAY` of the occurrence")
		f.StringVar(&to.ToDate, "to-date", "", "its new `DAY` (default: the same one)")
		f.StringVar(&to.From, "from", "", "when it begins then: `TIME` (default: as before)")
		f.StringVar(&to.To, "to", "", "when it ends then: `TIME`")
	})
	if err != nil {
		return err
	}
	if to.ToDate == "" && to.From == "" {
		return usageError{errors.New("passerelle agenda move: say where to: --to-date DAY, or --from TIME")}
	}
	now := a.now(c)
	return a.changeOwn(ctx, c, func(o *agenda.Own) (string, error) {
		e, err := o.Move(number, to, now)
		if err != nil {
			return "", entryError("move", number, err)
		}
		return fmt.Sprintf("event %d is moved: %s", number, describeEntry(e, now)), nil
	})
}

// imported matches the ID of an event that comes from a calendar.
var imported = regexp.MustCompile(`^[0-9a-f]{10}$`)

// numbered parses the flags of a command about one event.
func (a *agendaFlags) numbered(c *cli, name string, args []string, declare func(*flag.FlagSet)) (int, error) {
	words, err := c.flags(name, args, 1, func(f *flag.FlagSet) {
		declare(f)
		a.declare(f)
	})
	if err != nil {
		return 0, err
	}
	if len(words) == 0 {
		return 0, usageError{fmt.Errorf("passerelle %s: give the event's number; passerelle agenda list shows them", name)}
	}
	number, err := strconv.Atoi(words[0])
	switch {
	case imported.MatchString(words[0]):
		return 0, usageError{fmt.Errorf("passerelle %s: %s is an event of an imported calendar: change it there, then import the calendar again", name, words[0])}
	case err != nil:
		return 0, usageError{fmt.Errorf("passerelle %s: %q is not an event's number; passerelle agenda list shows them", name, words[0])}
	}
	return number, nil
}

// entryError says what to do if a change is refused.
func entryError(what string, number int, err error) error {
	if errors.Is(err, agenda.ErrUnknown) {
		err = fmt.Errorf("there is no event %d; passerelle agenda list shows them", number)
	}
	return usageError{fmt.Errorf("passerelle agenda %s: %w", what, err)}
}

// describeEntry names an event and its next date.
func describeEntry(e agenda.Entry, now time.Time) string {
	v, err := e.Event()
	if err != nil {
		return e.Title
	}
	from := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	if first, err := time.ParseInLocation(time.DateOnly, e.On, now.Location()); err == nil && first.After(from) {
		from = first
	}
	for _, o := range agenda.Occurrences([]*agenda.Event{v}, from, from.AddDate(1, 0, 0)) {
		if !o.Cancelled && o.MovedTo.IsZero() {
			return fmt.Sprintf("%s, next on %s", e.Title, whenText(o))
		}
	}
	return e.Title
}

// whenText says when something takes place, for a technician.
func whenText(o agenda.Occurrence) string {
	switch {
	case o.AllDay && o.End.Sub(o.Start) > 36*time.Hour:
		return o.Start.Format("Mon 2006-01-02") + " to " + o.End.AddDate(0, 0, -1).Format("Mon 2006-01-02")
	case o.AllDay:
		return o.Start.Format("Mon 2006-01-02")
	case o.End.Equal(o.Start):
		return o.Start.Format("Mon 2006-01-02 15:04")
	case o.End.Sub(o.Start) < 24*time.Hour:
		return o.Start.Format("Mon 2006-01-02 15:04") + o.End.Format("-15:04")
	default:
		return o.Start.Format("Mon 2006-01-02 15:04") + " to " + o.End.Format("Mon 2006-01-02 15:04")
	}
}

// maxListDays is the most days that passerelle agenda list covers.
const maxListDays = 400

func agendaList(_ context.Context, c *cli, args []string) error {
	var a agendaFlags
	var days int
	if _, err := c.flags("agenda list", args, 0, func(f *flag.FlagSet) {
		f.IntVar(&days, "days", 14, "how many `DAYS` to list")
		a.declare(f)
	}); err != nil {
		return err
	}
	if days < 1 || days > maxListDays {
		return usageError{fmt.Errorf("passerelle agenda list: --days is between 1 and %d", maxListDays)}
	}
	now := a.now(c)
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	events, problems := a.store().Events()
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	list := agenda.Occurrences(events, today, today.AddDate(0, 0, days))
	if len(list) == 0 {
		fmt.Fprintf(w, "Nothing takes place in the next %d days. To add an event: passerelle agenda add --title TITLE --on DAY\n", days)
	} else {
		fmt.Fprintln(w, "EVENT\tWHEN\tTITLE\tWHERE\tNOTE")
	}
	for _, o := range list {
		note := ""
		switch {
		case o.Cancelled:
			note = "cancelled"
		case !o.MovedTo.IsZero():
			note = "moved to " + o.MovedTo.Format("Mon 2006-01-02")
		case !o.Was.IsZero():
			note = "moved from " + o.Was.Format("Mon 2006-01-02")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Event.ID, whenText(o), cmp.Or(o.Title, "-"), cmp.Or(o.Place, "-"), note)
	}
	shown := func(e *agenda.Event) bool {
		return e.Ended(now) || slices.ContainsFunc(list, func(o agenda.Occurrence) bool { return o.Event == e })
	}
	if later := len(slices.DeleteFunc(events, shown)); later > 0 {
		fmt.Fprintf(w, "%s later: passerelle agenda list --days %d\n", plural(later, "event"), maxListDays)
	}
	calendars, wrong := a.store().Calendars()
	if len(calendars) > 0 {
		fmt.Fprintln(w, "\nCALENDAR\tEVENTS\tIMPORTED\tUNDO")
	}
	for _, cal := range calendars {
		undo := "no"
		if cal.Undo {
			undo = "yes"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", cal.Name, cal.Events, cal.Imported.In(now.Location()).Format("2 Jan 2006 15:04"), undo)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(problems) == 0 {
		problems = wrong
	}
	return errors.Join(problems...)
}

func agendaImport(ctx context.Context, c *cli, args []string) error {
	var a agendaFlags
	var name string
	words, err := c.flags("agenda import", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&name, "name", "", "the calendar's `NAME` (default: the file's)")
		a.declare(f)
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle agenda import: name the calendar's file (.ics)")}
	}
	if name == "" {
		name = agenda.NameOf(words[0])
	}
	file, err := os.Open(words[0])
	if err != nil {
		return err
	}
	defer file.Close()
	report, err := a.store().Import(file, name, "")
	for _, w := range report.Warnings {
		fmt.Fprintf(c.err, "%s: %s\n", words[0], w)
	}
	switch {
	case err != nil:
		return fmt.Errorf("nothing is changed: %w", err)
	case report.Same:
		fmt.Fprintf(c.out, "%s: it has these events already; nothing is changed\n", name)
		return nil
	case report.Replaced:
		fmt.Fprintf(c.out, "%s: %s; passerelle agenda undo %s brings the calendar before it back\n", name, plural(report.Events, "event"), name)
	default:
		fmt.Fprintf(c.out, "%s: %s\n", name, plural(report.Events, "event"))
	}
	return refresh(ctx, c, a.box, "voice")
}

func agendaRemove(ctx context.Context, c *cli, args []string) error {
	var a agendaFlags
	words, err := c.flags("agenda remove", args, 1, a.declare)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle agenda remove: name the calendar, or give the event's number; passerelle agenda list shows them")}
	}
	if number, err := strconv.Atoi(words[0]); err == nil {
		return a.changeOwn(ctx, c, func(o *agenda.Own) (string, error) {
			if err := o.Remove(number); err != nil {
				return "", entryError("remove", number, err)
			}
			return fmt.Sprintf("event %d is removed", number), nil
		})
	}
	err = a.store().Remove(words[0], "")
	if errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("there is no calendar %q; passerelle agenda list lists them", words[0])}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s is removed; passerelle agenda undo %[1]s brings it back\n", words[0])
	return refresh(ctx, c, a.box, "voice")
}

func agendaUndo(ctx context.Context, c *cli, args []string) error {
	var a agendaFlags
	words, err := c.flags("agenda undo", args, 1, a.declare)
	if err != nil {
		return err
	}
	calendar, err := a.store().Undo(append(words, "")[0], "")
	if errors.Is(err, agenda.ErrNothingToUndo) {
		return usageError{fmt.Errorf("passerelle agenda undo: %w", err)}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s: the calendar before is back, with %s\n", calendar.Name, plural(calendar.Events, "event"))
	return refresh(ctx, c, a.box, "voice")
}
