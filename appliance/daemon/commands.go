package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/fleet/command"
	"passerelle/appliance/state"
	"passerelle/captive/records"
)

// commandsShown is how many of the fleet's last commands the status shows.
const commandsShown = 10

// commands carries out the commands of the box's fleet, and keeps a list of them on the disk.
type commands struct {
	file     records.File[command.List]
	box      obeyer
	diagnose func() // starts a search for what is wrong

	mu sync.Mutex // held during a command
}

// obeyer is what commands need of appliance.Box.
type obeyer interface {
	Obey(ctx context.Context, a command.Action, by string) (command.Verdict, error)
	Status() state.Status
	Written() *config.Config
}

func newCommands(folder string, box obeyer, diagnose func()) *commands {
	return &commands{
		file: records.File[command.List]{Path: filepath.Join(folder, fleetFolder, "commands.json"), Version: 1}, box: box, diagnose: diagnose,
	}
}

// stopped is why a command failed whose result was never written.
const stopped = "the box stopped before it was carried out"

// take carries out a command of the fleet, given as the text that arrived, if it is still valid. A command is written to the list
// before it is carried out, and one that cannot be written is not carried out, so that no command is carried out twice. The error
// is control.ErrRefused if the fleet is at fault.
func (c *commands) take(ctx context.Context, text []byte) (command.Verdict, error) {
	if !c.box.Written().Fleet.Member() {
		return "", control.Refuse(errors.New("the box is in no fleet"))
	}
	x, err := command.Parse(text)
	if err != nil {
		return "", control.Refuse(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clock := c.box.Status().Clock
	e := command.Entry{Command: x, At: clock.Now}
	var judged command.Verdict
	if err := c.update(func(l command.List) (command.List, error) {
		switch judged = l.Judge(x, clock.Now, clock.Trusted); judged {
		case command.Seen:
			return l, nil
		case command.Done: // it will be, below
			e.Verdict, e.Why = command.Failed, stopped
		default:
			e.Verdict = judged
		}
		return l.Add(e, clock.Now)
	}); err != nil || judged != command.Done {
		return judged, err
	}
	e.Verdict, e.Why = command.Done, ""
	switch x.Action {
	case command.Diagnose:
		c.diagnose()
	default:
		if e.Verdict, err = c.box.Obey(ctx, x.Action, x.By); err != nil {
			e.Verdict, e.Why = command.Failed, err.Error()
		}
	}
	return e.Verdict, errors.Join(err, c.update(func(l command.List) (command.List, error) { return l.Add(e, clock.Now) }))
}

// update changes the list. A file that cannot be read is set aside: the list starts empty, and the error says so.
func (c *commands) update(f func(command.List) (command.List, error)) error {
	_, err := c.file.Update(func(l *command.List) (err error) {
		*l, err = f(*l)
		return err
	})
	if errors.Is(err, command.ErrFull) {
		return control.Refuse(err)
	}
	if err != nil {
		return fmt.Errorf("keep a command of the fleet: %w", err)
	}
	return nil
}

// last returns the last command that arrived; ok is false if none did.
func (c *commands) last() (e command.Entry, ok bool) {
	l, err := c.file.Read()
	if err != nil || len(l.Entries) == 0 {
		return e, false
	}
	return l.Entries[len(l.Entries)-1], true
}

// addTo adds the last commands to a status, the newest first.
func (c *commands) addTo(s *state.Status, zone *time.Location) {
	l, err := c.file.Read()
	if err != nil { // the next command sets the file aside
		return
	}
	for _, e := range slices.Backward(l.Entries) {
		if len(s.Commands) == commandsShown {
			return
		}
		s.Commands = append(s.Commands, state.FleetCommand{
			At: e.At.In(zone), Action: string(e.Action), By: e.By, Verdict: string(e.Verdict), Why: e.Why,
		})
	}
}
