package appliance

import (
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/state"
)

// fleetText is a configuration of a box in a fleet.
var fleetText = "fleet = { hubs = [\"un.flotte.fr\"] }\n" + alwaysText

// says returns a layer of the box's association.
func says(t testing.TB, text string) Layers {
	t.Helper()
	f, err := config.ParseFragment("fragment.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Layers{All: []layer.Layer{{Level: layer.Association, Name: "lilas", Fragment: f}}}
}

func (h *testBox) setLayers(l Layers) {
	h.Helper()
	if err := h.box.SetLayers(h.Context(), l); err != nil {
		h.Fatal(err)
	}
}

// reconfigure applies another configuration text, as the technician.
func (h *testBox) reconfigure(text string) {
	h.Helper()
	if outcome, err := h.box.Reconfigure(h.Context(), h.config(text)); err != nil || outcome != config.Applied {
		h.Fatalf("%s, %v", outcome, err)
	}
}

// TestLayers: a limit that a layer lowers applies to running sessions at once, and so does its end, when the technician takes the box
// out of the fleet. The accepted configuration is the technician's, whatever the layers say.
func TestLayers(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		var accepted *config.Config
		h.accept = func(c *config.Config) error { accepted = c; return nil }
		h.start(fleetText, h.stop())
		h.state(state.Sharing)
		h.admit(anna)
		if s := h.box.Status(); s.Layers == nil || len(s.Layers.Set) != 0 {
			t.Fatalf("before: %+v", s.Layers)
		}
		written := h.box.Written()
		if h.box.Config() != written {
			t.Error("a box of which its fleet says nothing has another configuration than the technician's")
		}
		l := says(t, "[limits]\nsession = \"30m\"\ndata = \"100MB\"\n[essential]\nadd = [\"mairie-lilas.fr\"]\n[portal]\nfr = \"Bonjour\"")
		h.setLayers(l)
		if c := h.box.Config(); c.Limits.Session != 30*time.Minute || c.Limits.Data != 100e6 || c.Essential.Opens("mairie-lilas.fr") {
			t.Errorf("in use: %+v, %q", c.Limits, c.Essential.Names)
		}
		if h.box.Written() != written || written.Limits.Session != 2*time.Hour {
			t.Error("the technician's configuration has changed")
		}
		s, site := h.box.Status(), h.box.Site()
		if s.Residents.Data != 100e6 || site.Data != 100e6 || site.SessionLength != 30*time.Minute || site.Notice == nil || (*site.Notice)["fr"] != "Bonjour" {
			t.Errorf("shown: %+v, %+v", s.Residents, site)
		}
		if p := s.Layers.Proposed; len(p) != 1 || p[0] != (state.Proposal{Service: "mairie-lilas.fr", By: "association lilas"}) {
			t.Errorf("proposed: %+v", p)
		}
		if k := s.Layers.Set[0]; k != (state.LayerKey{Key: "limits.session", Value: `"30m"`, By: "association lilas"}) {
			t.Errorf("set: %+v", k)
		}
		if x, ok := h.box.Session(anna); !ok || x.DataLeft > 100e6 {
			t.Errorf("a running session has %d bytes left", x.DataLeft)
		}
		h.settle()
		h.inLoop(func() {
			if accepted != written {
				h.Error("another configuration than the technician's was accepted")
			}
		})
		// A press opens the proposed service.
		l.Accepted = []string{"mairie-lilas.fr"}
		h.setLayers(l)
		if c := h.box.Config(); !c.Essential.Opens("mairie-lilas.fr") || !h.box.Status().Layers.Proposed[0].Accepted {
			t.Errorf("accepted: %q", c.Essential.Names)
		}
		// Another change of the file keeps the layers; one without [fleet] ends them at once.
		h.reconfigure(strings.Replace(fleetText, `"Fibre du centre"`, `"Fibre"`, 1))
		if c := h.box.Config(); c.Limits.Session != 30*time.Minute || c.Donations[0].Name != "Fibre" {
			t.Errorf("after a change of the file: %+v", c.Limits)
		}
		h.reconfigure(alwaysText)
		s, site = h.box.Status(), h.box.Site()
		if c := h.box.Config(); c != h.box.Written() || c.Limits.Session != 2*time.Hour || s.Layers != nil || site.Notice != nil || c.Essential.Opens("mairie-lilas.fr") {
			t.Errorf("out of the fleet: %+v, %+v", c.Limits, s.Layers)
		}
		if got := h.kernel.String(); strings.Contains(got, "mairie-lilas.fr") {
			t.Error("the kernel has what the fleet proposed")
		}
	})
}

// TestLayersAtStart: a box starts with the layers that it stored. One that nobody has configured has none. Layers never need a restart.
func TestLayersAtStart(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.layers = says(t, "[limits]\nsession = \"30m\"")
		h.start(fleetText, h.stop())
		h.state(state.Sharing)
		if c := h.box.Config(); c.Limits.Session != 30*time.Minute {
			t.Errorf("%+v", c.Limits)
		}
		h.untouched = true
		h.start(fleetText, h.stop())
		if c := h.box.Config(); c != h.box.Written() || h.box.Status().Layers != nil {
			t.Errorf("a box that nobody has configured: %+v", c.Limits)
		}
		f := layer.Merge(h.config(fleetText), says(t, "[box]\nlanguages = [\"en\"]\n[limits]\nsession = \"1m\"\n[essential]\nremove = [\"@france\"]").All, nil)
		if NeedsRestart(h.config(fleetText), f.Config) {
			t.Error("a layer needs a restart")
		}
	})
}
