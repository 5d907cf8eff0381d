package appliance

import (
	"context"
	"errors"
	"fmt"

	"passerelle/appliance/state"
)

// StateUse records how many bytes a donation's line has carried in the current period, as a person states, for a donation whose
// account is lost. Until then its cap counts as spent. The error is state.ErrNoDonation or state.ErrUseKnown.
func (b *Box) StateUse(ctx context.Context, name string, bytes uint64) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		n := b.lines.find(name)
		switch {
		case n < 0:
			err = fmt.Errorf("%w: %q", state.ErrNoDonation, name)
		case !b.lines.all[n].account.StateUse(bytes):
			err = fmt.Errorf("%w: %q", state.ErrUseKnown, name)
		default:
			b.reconcile(loop)
		}
	})
	return errors.Join(doErr, err)
}
