package voice

import (
	"errors"
	"fmt"
	"time"

	"passerelle/captive/records"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/voice/week"
)

// Desk is what staff and technicians do with residents' posts and answers, and with the agenda, on the command line and on their pages.
type Desk struct {
	Dir string           // the share's data, STATE/voice
	Now func() time.Time // in the box's zone

	// Refresh makes a running box write what it has in memory, and read the files again.
	Refresh func() error
}

// Board returns the board with the posts that wait and those that are shown.
func (d Desk) Board() (board.Board, error) {
	if err := d.Refresh(); err != nil {
		return board.Board{}, err
	}
	b, err := BoardFile(d.Dir).Read()
	if err == nil {
		b.Expire(d.Now())
	}
	return b, err
}

// Accept shows posts that wait. If one of them does not wait, nothing is changed, and the error is board.ErrUnknown. If they do not all
// fit, nothing is changed either, and the error is board.ErrFull.
func (d Desk) Accept(numbers ...int) error {
	return d.changeBoard(func(b *board.Board) error {
		for _, n := range numbers {
			if err := b.Accept(n, d.Now()); err != nil {
				return fmt.Errorf("notice %d: %w", n, err)
			}
		}
		return nil
	})
}

// Refuse removes posts. If one of them does not exist, nothing is changed, and the error is board.ErrNoNotice.
func (d Desk) Refuse(numbers ...int) error {
	return d.changeBoard(func(b *board.Board) error {
		for _, n := range numbers {
			if !b.Remove(n) {
				return fmt.Errorf("%w %d", board.ErrNoNotice, n)
			}
		}
		return nil
	})
}

// RefuseAll removes all posts that wait, and those with these numbers. It returns how many it removed.
func (d Desk) RefuseAll(numbers ...int) (removed int, err error) {
	err = d.changeBoard(func(b *board.Board) error {
		removed = 0
		for _, post := range b.Waiting() {
			numbers = append(numbers, post.Number)
		}
		for _, n := range numbers {
			if b.Remove(n) {
				removed++
			}
		}
		return nil
	})
	return removed, err
}

// changeBoard changes the board's file. A file that cannot be read is not changed, since its content is not known.
func (d Desk) changeBoard(change func(*board.Board) error) error {
	file := BoardFile(d.Dir)
	if _, err := d.Board(); err != nil {
		return err
	}
	_, err := file.Update(func(b *board.Board) error {
		b.Expire(d.Now())
		return change(b)
	})
	if err != nil {
		return err
	}
	return d.Refresh()
}

// Question returns the centre's current question, nil for none.
func (d Desk) Question() (*opinion.Question, error) {
	all, err := OpinionFile(d.Dir).Read()
	if err != nil {
		return nil, err
	}
	return all.Question(all.Current), nil
}

// AnyQuestion stands for any current question.
const AnyQuestion = -1

// Ask replaces the current question, whose number must be seen; 0 stands for none. The error is opinion.ErrAnother if the current
// question is another one, and an opinion.RefusedError for a question that cannot be asked.
func (d Desk) Ask(text string, choices []opinion.ChoiceText, seen int) error {
	return d.changeOpinions(seen, func(o *opinion.Opinions) error { return o.Ask(text, choices) })
}

// Close ends the current question, whose number must be seen: then no question is asked. Its answers are kept. The error is
// opinion.ErrAnother as for Ask.
func (d Desk) Close(seen int) error {
	return d.changeOpinions(seen, func(o *opinion.Opinions) error {
		o.Current = 0
		return nil
	})
}

func (d Desk) changeOpinions(seen int, change func(*opinion.Opinions) error) error {
	file := OpinionFile(d.Dir)
	if _, err := file.Read(); err != nil {
		return err
	}
	if err := d.Refresh(); err != nil { // saves the answers to the current question
		return err
	}
	_, err := file.Update(func(o *opinion.Opinions) error {
		if seen != AnyQuestion && seen != o.Current {
			return opinion.ErrAnother
		}
		return change(o)
	})
	if err != nil {
		return err
	}
	return d.Refresh()
}

// Results returns the results of the last weeks that ended, up to that many.
func (d Desk) Results(weeks int) ([]opinion.Row, error) {
	if err := d.Refresh(); err != nil {
		return nil, err
	}
	all, err := OpinionFile(d.Dir).Read()
	if err != nil {
		return nil, err
	}
	now := week.Of(d.Now())
	all.Close(now)
	return all.Results(now.Add(-weeks)), nil
}

// Agenda returns the files of the agenda.
func (d Desk) Agenda() agenda.Store { return agenda.Store{Dir: d.Dir} }

// ChangeEvents changes the staff's events. If their file cannot be read, it is set aside, the change is made to an empty list, and the
// error is a *records.UnreadableError.
func (d Desk) ChangeEvents(change func(*agenda.Own) error) error {
	err := d.Agenda().Change(change)
	if _, aside := errors.AsType[*records.UnreadableError](err); err != nil && !aside {
		return err
	}
	return errors.Join(err, d.Refresh())
}
