package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"passerelle/appliance/fleet/protocol"
)

// askSome is how many times a box asks over one connection. Somebody stands at the box then; later it asks rarely.
const askSome = 20

// ask asks for the membership over one connection, until an answer is final or it has asked askSome times.
func (c *Client) ask(ctx context.Context, me membership) {
	as := identity{name: protocol.Asker, token: c.o.Bundle.Token, seed: c.o.Bundle.Seed}
	c.begin()
	l, err := c.dial(ctx, as)
	if err == nil {
		defer l.close()
		err = c.askOver(ctx, l, me)
	}
	if err != nil && ctx.Err() == nil {
		c.failed(fmt.Errorf("ask for a membership: %w", err))
	}
}

func (c *Client) askOver(ctx context.Context, l link, me membership) error {
	hold := time.Duration(0) // the first answer must come at once: it shows that a hub knows the words
	for range askSome {
		began := time.Now()
		answer, err := askOnce(ctx, l, me, hold)
		if err != nil {
			return err
		}
		c.failures = 0
		c.edit(func(s *Status) { s.Err = "" })
		switch answer.State {
		case protocol.Waiting:
			c.edit(func(s *Status) {
				if s.Stage == Asking {
					s.Stage = Waiting
				}
			})
		case protocol.Member:
			me.Code, me.Association, me.Token = "", answer.Association, answer.Token
			return c.become(me, "")
		case protocol.Unknown, protocol.Used, protocol.Refused:
			me.Code = ""
			return c.become(me, answer.State)
		default: // Busy, or a state that only a newer hub knows
			c.notBefore = time.Now().Add(c.backoff(c.asked))
			c.asked++
			return nil
		}
		if hold == 0 { // somebody may confirm at any moment: from now on the hub may hold its answer until then (long polling)
			hold = min(protocol.MaxHold, c.o.Pace.Timeout*3/4)
			continue
		}
		// A hub that holds its answers sets the pace. Jitter spreads the boxes that ask a hub that does not.
		if !sleep(ctx, c.o.Pace.Ask+c.some(c.o.Pace.Ask/2)-time.Since(began)) {
			return nil
		}
	}
	c.asked++
	c.notBefore = time.Now().Add(min(c.o.Pace.Visit, c.o.Pace.Most*time.Duration(c.asked)))
	return nil
}

// renew asks for another token for the box's own key: the hubs refuse the current one, and their signing key may have been replaced.
// Whatever the outcome, the membership stays, and the box waits before it connects again.
func (c *Client) renew(ctx context.Context, me membership) {
	l, err := c.dial(ctx, identity{name: protocol.Asker, token: c.o.Bundle.Token, seed: c.o.Bundle.Seed})
	if err != nil {
		c.o.Log.Info("fleet: ask for another token", "err", err)
		return
	}
	defer l.close()
	answer, err := askOnce(ctx, l, membership{public: me.public}, 0)
	if err != nil {
		c.o.Log.Info("fleet: ask for another token", "err", err)
		return
	}
	// A box changes its association only by enrolling again: the association decides which signed files it accepts.
	if answer.State != protocol.Member || answer.Association != me.Association {
		return
	}
	me.Token = answer.Token
	if err := c.become(me, ""); err != nil {
		c.o.Log.Warn("fleet", "err", err)
		return
	}
	c.current = me // not another membership: earlier failures still count
}

// become changes the membership, unless somebody pressed Enrol or Leave in the meantime.
func (c *Client) become(me membership, refusal protocol.Enrolment) error {
	c.pressed.Lock()
	defer c.pressed.Unlock()
	c.mu.Lock()
	same := c.me == c.current
	c.mu.Unlock()
	if !same {
		return nil
	}
	if err := c.store.save(me); err != nil {
		return fmt.Errorf("save the membership: %w", err)
	}
	c.edit(func(s *Status) { s.Refusal = refusal })
	c.set(me)
	return nil
}

// askOnce asks once. A hub that has nothing new to say may hold its answer for that long.
func askOnce(ctx context.Context, l link, me membership, hold time.Duration) (a protocol.Answer, err error) {
	question, err := json.Marshal(protocol.Ask{Code: me.Code, Key: me.public, Hold: int(hold.Milliseconds())})
	if err != nil {
		return a, err
	}
	m, err := l.request(ctx, protocol.SubjectAsk, question)
	if err != nil {
		return a, err
	}
	if len(m.body) > protocol.MaxAnswer {
		return a, errors.New("the answer is too long")
	}
	if err := json.Unmarshal(m.body, &a); err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	if a.State == protocol.Member {
		if err := protocol.CheckName(a.Association); err != nil {
			return a, fmt.Errorf("read the answer: %w", err)
		}
		if a.Token == "" {
			return a, errors.New("the answer has no token")
		}
	}
	return a, nil
}
