package appliance

import (
	"errors"
	"strings"
	"testing"

	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
)

// TestStateUse: a donation whose account was lost is shared again once somebody states its use, up to what is left of its cap. The
// statement is on the disk before anything is granted.
func TestStateUse(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.stop()
		h.store.records["Fibre du centre"] = ledger.LostRecord()
		h.start(strings.NewReplacer(`cap = "0"`, `cap = "50MB"`, "500MB", "0").Replace(confText), Handover{})
		h.state(state.Exhausted)
		if err := h.box.StateUse(h.Context(), "4G", 1); !errors.Is(err, state.ErrNoDonation) {
			h.Errorf("of another donation: %v", err)
		}
		if err := h.box.StateUse(h.Context(), "Fibre du centre", 40e6); err != nil {
			h.Fatal(err)
		}
		h.settle()
		h.state(state.Sharing)
		if r := h.record(); r.Lost || r.Base != 40e6 {
			h.Errorf("the record is %+v", r)
		}
		h.admit(anna)
		if n := h.download(50e6); n == 0 || n > 10e6 {
			h.Errorf("%d bytes passed", n)
		}
		h.state(state.Exhausted)
		if err := h.box.StateUse(h.Context(), "Fibre du centre", 1); !errors.Is(err, state.ErrUseKnown) {
			h.Errorf("stated twice: %v", err)
		}
	})
}
